// Threads of a block as fibers: each runs until it ends or waits at a barrier, then the next one does. Blocks run one after
// the other. With -fsanitize=thread g++ calls __tsan_* before every access of a kernel; here those functions are ours, and
// check that the access lies in an array that the kernel was given, that somebody has written what is read, and that no two
// threads touch a word without a barrier between them unless both read or both add atomically.
#include "device.h"

#include <algorithm>
#include <csetjmp>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <random>
#include <sys/mman.h>
#include <vector>
#ifdef __SSE__
#include <xmmintrin.h>
#endif

Dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulator {

struct Touch { uint32_t launch, block, thread, epoch; };  // epoch: barriers that the block has passed
struct Word { Touch write, read; uint8_t atomic, read_by_many; };
static_assert(sizeof(Word) == 36, "as WORD_BYTES of _memory.py");

enum State { READY, WAITING, DONE };
struct Fiber { void *stack; State state; int line; };

static const size_t STACK = 64 << 10, PAGE = 4096, MAX_SHARED = 256 << 10;
static std::vector<Fiber> fibers;
static std::vector<char *> stacks;
static void *scheduler;
static sigjmp_buf broken;
static std::minstd_rand random_numbers;
static unsigned current, epoch;
static uint32_t block_number;
static Call body;
static Launch *launch;
static char *shared;
static Array shared_array;
static bool in_kernel;
static char *heap;
static uint64_t heap_bytes;

static void fail(const char *format, ...) {
    va_list list;
    va_start(list, format);
    const size_t size = sizeof launch->fault, n = vsnprintf(launch->fault, size - 64, format, list);
    va_end(list);
    snprintf(launch->fault + n, size - n, " (block %u, thread %u)", block_number, current);
    in_kernel = false;
    siglongjmp(broken, 1);
}

static void on_signal(int number, siginfo_t *info, void *) {
    if (in_kernel) fail("illegal memory access at %p", info->si_addr);
    signal(number, SIG_DFL);
}

// Leaves the stack of one fiber, with what a call has to keep on it, for that of another.
extern "C" void emulator_switch(void **from, void *to);
asm(R"(
    .text
emulator_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
)");

static void wait(State state, int line) {
    Fiber &f = fibers[current];
    f.state = state;
    f.line = line;
    emulator_switch(&f.stack, scheduler);
}

void barrier(int line) { wait(WAITING, line); }
void *shared_memory() { return shared; }

static void entry() {
    for (;;) {
        body(launch->arguments);
        wait(DONE, 0);
    }
}

static void go_on(unsigned thread) {
    current = thread;
    threadIdx = {thread % blockDim.x, thread / blockDim.x % blockDim.y, thread / (blockDim.x * blockDim.y)};
    emulator_switch(&scheduler, fibers[thread].stack);
}

static const std::vector<unsigned> &in_order(unsigned n, std::vector<unsigned> &out) {
    if (out.size() == n && launch->order != 2) return out;
    out.resize(n);
    std::iota(out.begin(), out.end(), 0);
    if (launch->order == 1) std::reverse(out.begin(), out.end());
    if (launch->order == 2) std::shuffle(out.begin(), out.end(), random_numbers);
    return out;
}

static void run_block(unsigned n) {
    std::vector<unsigned> order;
    for (Fiber &f : fibers) f.state = READY;
    for (epoch = 0;; epoch++) {
        for (unsigned t : in_order(n, order)) go_on(t);
        const unsigned done = std::count_if(fibers.begin(), fibers.end(), [](const Fiber &f) { return f.state == DONE; });
        if (done == n) return;
        if (done) fail("%u threads ended while %u wait at __syncthreads()", done, n - done);
        for (const Fiber &f : fibers)
            if (f.line != fibers[0].line)
                fail("threads wait at different __syncthreads(): lines %d and %d", fibers[0].line, f.line);
    }
}

static void make_fibers(unsigned n) {
    while (stacks.size() < n) {
        char *stack = (char *)mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        mprotect(stack, PAGE, PROT_NONE);  // below it
        stacks.push_back(stack);
    }
    fibers.resize(n);
    for (unsigned t = 0; t < n; t++) {
        void **top = (void **)(stacks[t] + STACK) - 8;  // six registers, where to begin, and no caller
        std::fill(top, top + 8, nullptr);
        top[6] = (void *)entry;
        fibers[t].stack = top;
    }
    if (shared) return;
    shared = (char *)mmap(nullptr, MAX_SHARED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    shared_array = {shared, 0, (uint8_t *)calloc(MAX_SHARED / 4, 1), (Word *)calloc(MAX_SHARED / 4, sizeof(Word))};
    static char alternative[1 << 16];
    stack_t place = {};
    place.ss_sp = alternative;
    place.ss_size = sizeof alternative;
    sigaltstack(&place, nullptr);
}

int run(Call call, Launch *given) {
    launch = given;
    body = call;
    const uint32_t *grid = launch->grid, *block = launch->block;
    const unsigned threads = block[0] * block[1] * block[2];
    make_fibers(threads);
    shared_array.bytes = launch->shared_bytes;
    struct sigaction action = {}, before_segv, before_bus;
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    sigaction(SIGSEGV, &action, &before_segv);
    sigaction(SIGBUS, &action, &before_bus);
#ifdef __SSE__
    const unsigned control = _mm_getcsr();
    _mm_setcsr(control | 0x8040);  // --use_fast_math: subnormal numbers are 0
#endif
    volatile int status = 0;
    if (sigsetjmp(broken, 1)) {
        status = 1;
    } else {
        blockDim = {block[0], block[1], block[2]};
        gridDim = {grid[0], grid[1], grid[2]};
        std::vector<unsigned> order;
        in_kernel = true;
        for (uint32_t number : in_order(grid[0] * grid[1] * grid[2], order)) {
            block_number = number;
            blockIdx = {number % grid[0], number / grid[0] % grid[1], number / (grid[0] * grid[1])};
            std::memset(shared, 0xff, launch->shared_bytes);  // NaN
            std::memset(shared_array.written, 0, launch->shared_bytes / 4);
            run_block(threads);
        }
        in_kernel = false;
    }
#ifdef __SSE__
    _mm_setcsr(control);
#endif
    sigaction(SIGSEGV, &before_segv, nullptr);
    sigaction(SIGBUS, &before_bus, nullptr);
    return status;
}

enum Access { READ, WRITE, ATOMIC };

// Whether nothing lies between an earlier touch of a word and this one.
static bool unordered(const Touch &t, bool of_block) {
    if (t.launch != launch->number) return false;
    if (t.block != block_number) return !of_block;
    return t.thread != current && t.epoch == epoch;
}

static void check_word(const Array &a, uint64_t word, Access access) {
    const bool of_block = a.base == shared;
    const auto fail_at = [&](const char *format, auto... values) {
        char text[160], where[40] = "shared memory";
        if (!of_block) snprintf(where, sizeof where, "array %d", (int)(&a - launch->arrays));
        snprintf(text, sizeof text, format, values...);
        fail(text, (unsigned long long)word, where);
    };
    if (access == READ && !a.written[word]) fail_at("reads word %%llu of %%s, which nobody has written");
    a.written[word] = 1;
    Word &w = a.words[word];
    const Touch now = {launch->number, block_number, current, epoch};
    if (unordered(w.write, of_block) && !(access == ATOMIC && w.atomic))
        fail_at("race on word %%llu of %%s: written by block %u, thread %u", w.write.block, w.write.thread);
    const bool same_block = w.read.launch == now.launch && w.read.block == now.block, same = same_block && w.read.epoch == now.epoch;
    if (access == READ) {
        const bool other_block = !of_block && w.read.launch == now.launch && w.read.block != now.block;
        if (other_block) w.read_by_many = 2;  // whoever writes it then, races
        else if (!same) w.read_by_many = same_block && w.read_by_many == 2 ? 2 : 0;
        else if (w.read.thread != now.thread && !w.read_by_many) w.read_by_many = 1;
        w.read = now;
        return;
    }
    if (unordered(w.read, of_block) || (w.read.launch == now.launch && w.read_by_many == 2) || (same && w.read_by_many))
        fail_at("race on word %%llu of %%s: read by block %u, thread %u", w.read.block, w.read.thread);
    w.write = now;
    w.atomic = access == ATOMIC;
}

static void check_words(const Array &a, const char *at, size_t size, Access access) {
    const uint64_t first = at - a.base;
    for (uint64_t word = first / 4; 4 * word < first + size; word++) check_word(a, word, access);
}

static void fail_outside(const char *at, Access access) {
    int nearest = 0;
    long long distance = -1;
    for (int i = 0; i < launch->n_arrays; i++) {
        const Array &a = launch->arrays[i];
        const long long d = at < a.base ? a.base - at : at - a.base - (long long)a.bytes + 1;
        if (distance < 0 || d < distance) nearest = i, distance = d;
    }
    fail("%s outside all arrays, %lld bytes beside array %d", access == READ ? "reads" : "writes", distance, nearest);
}

static bool inside(const Array &a, const char *at) { return at >= a.base && at < a.base + a.bytes; }

static void check(const void *address, size_t size, Access access) {
    if (!in_kernel) return;
    const char *at = (const char *)address;
    static const Array *found;  // often that of the access before
    if (at >= shared && at < shared + MAX_SHARED) {
        const int bytes = launch->shared_bytes;
        if (at + size > shared + bytes) fail("%zu bytes at byte %td of %d bytes of shared memory", size, at - shared, bytes);
        return check_words(shared_array, at, size, access);
    }
    if (at < heap || at >= heap + heap_bytes) return;  // the kernel's own stack, or a tensor
    const Array *first = launch->arrays, *end = first + launch->n_arrays;
    if (!(found >= first && found < end && inside(*found, at)))
        found = std::find_if(first, end, [=](const Array &a) { return inside(a, at); });
    if (found == end) fail_outside(at, access);
    if (at + size > found->base + found->bytes) fail("%zu bytes across the end of array %d", size, (int)(found - launch->arrays));
    check_words(*found, at, size, access);
}

float add(float *at, float value) {
#ifdef CHECKED
    check(at, sizeof value, ATOMIC);
#endif
    const float before = *at;
    *at = before + value;
    return before;
}

extern "C" void emulator_heap(char *base, uint64_t bytes) { heap = base, heap_bytes = bytes; }

}  // namespace emulator

#ifdef CHECKED
using namespace emulator;
#define ACCESSES(n)                                                     \
    void __tsan_read##n(void *a) { check(a, n, READ); }                 \
    void __tsan_write##n(void *a) { check(a, n, WRITE); }               \
    void __tsan_unaligned_read##n(void *a) { check(a, n, READ); }       \
    void __tsan_unaligned_write##n(void *a) { check(a, n, WRITE); }
extern "C" {
void __tsan_init() {}
ACCESSES(1) ACCESSES(2) ACCESSES(4) ACCESSES(8) ACCESSES(16)
void __tsan_read_range(void *a, size_t n) { check(a, n, READ); }
void __tsan_write_range(void *a, size_t n) { check(a, n, WRITE); }
}
#endif
