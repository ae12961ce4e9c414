"""Device arrays: NumPy's arithmetic, and CuPy's refusals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cupy._copies import download, settle, upload
from cupy._memory import Memory

SCALARS = (int, float, complex, bool, np.generic)
TYPES = "?bhilqBHILQefdFD"


class ndarray:
    """An array on the emulated device; ``memory`` is None where that is a tensor's."""

    def __init__(self, host: np.ndarray, memory: Memory | None) -> None:
        self.host, self.memory = host, memory

    @classmethod
    def empty(cls, shape: Any, dtype: Any = float) -> ndarray:
        """An array that nobody has written."""
        shape, dtype = (shape,) if isinstance(shape, int | np.integer) else tuple(shape), np.dtype(dtype)
        n_bytes = math.prod(shape) * dtype.itemsize
        memory = Memory(n_bytes)
        return cls(np.asarray(memory)[:n_bytes].view(dtype).reshape(shape), memory)

    @classmethod
    def of(cls, values: Any) -> ndarray:
        """A copy of host values."""
        values = np.asarray(values)
        if values.dtype.char not in TYPES:
            raise ValueError(f"Unsupported dtype {values.dtype}")
        out = cls.empty(values.shape, values.dtype.newbyteorder("="))
        out.host[...] = values
        out.wrote()
        return out

    def wrote(self) -> None:
        """All of it is written."""
        if self.memory is not None and self.size:
            _written(self.memory, self.host)[...] = 1

    def read(self) -> np.ndarray:
        """Its values, all of which have to be written."""
        if self.memory is not None and self.size and not _written(self.memory, self.host).all():
            raise RuntimeError("emulator: an array is read of which a part has never been written")
        return self.host

    def set(self, values: np.ndarray, stream: Any = None) -> None:
        """Copy host values of the same shape and type into it; with a stream, later."""
        if values.dtype != self.dtype or values.shape != self.shape or not values.flags.c_contiguous:
            raise ValueError("set() takes an array of the same shape and type, without gaps")
        self.host[...] = values
        self.wrote()
        if stream is not None:
            upload(values)

    def get(self, out: np.ndarray | None = None, blocking: bool = True) -> np.ndarray:
        """A copy in host memory, which is there later where it does not block."""
        values = self.read().copy()
        if blocking:
            settle()
        if out is None:
            return values
        if out.dtype != self.dtype or out.shape != self.shape:
            raise ValueError("get() takes an array of the same shape and type")
        out[...] = values
        if not blocking:
            download(out, values)
        return out

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **_: Any) -> Any:
        return compute(ufunc, *inputs, out=out[0] if out else None) if method == "__call__" else NotImplemented

    def __dlpack__(self, **_: Any) -> Any:
        return self.host.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.host.__dlpack_device__()

    shape = property(lambda self: self.host.shape)
    dtype = property(lambda self: self.host.dtype)
    ndim = property(lambda self: self.host.ndim)
    size = property(lambda self: self.host.size)
    nbytes = property(lambda self: self.host.nbytes)
    strides = property(lambda self: self.host.strides)
    flags = property(lambda self: self.host.flags)
    real = property(lambda self: ndarray(self.host.real, self.memory))
    imag = property(lambda self: ndarray(self.host.imag, self.memory))

    def __len__(self) -> int:
        return len(self.host)

    def reshape(self, *shape: Any) -> ndarray:
        """In another shape, in the same memory where that is possible."""
        out = self.host.reshape(*shape)
        same = np.may_share_memory(out, self.host)
        return ndarray(out, self.memory) if same else ndarray.of(self.read().reshape(*shape))

    def view(self, dtype: Any) -> ndarray:
        """The same bytes as another type."""
        return ndarray(self.host.view(dtype), self.memory)

    def __getitem__(self, key: Any) -> ndarray:
        return ndarray(_part(self.host, key), self.memory) if _basic(key) else ndarray.of(self.read()[_on_host(key)])

    def __setitem__(self, key: Any, value: Any) -> None:
        self.host[_on_host(key)] = _value(value)
        if _basic(key):
            self[key].wrote()

    def copy(self) -> ndarray:
        """A copy without gaps."""
        return ndarray.of(self.read())

    def astype(self, dtype: Any) -> ndarray:
        """A copy of another type."""
        return ndarray.of(self.read().astype(dtype))

    def take(self, indices: Any, axis: int) -> ndarray:
        """Some of the values along an axis."""
        return ndarray.of(self.read().take(_value(indices), axis=axis))

    def max(self) -> ndarray:
        """The largest value."""
        return ndarray.of(self.read().max())

    def min(self) -> ndarray:
        """The smallest value."""
        return ndarray.of(self.read().min())

    def sum(self) -> ndarray:
        """The sum of all values."""
        return ndarray.of(self.read().sum())

    def __int__(self) -> int:
        return int(self.read())

    def __float__(self) -> float:
        return float(self.read())

    def __bool__(self) -> bool:
        return bool(self.read())

    def __repr__(self) -> str:
        return f"<emulated device array {self.shape} {self.dtype}>"


def compute(function: Any, *inputs: Any, out: Any = None) -> ndarray:
    """A function of NumPy on the values of arrays."""
    result = function(*(_value(i) for i in inputs))
    if out is None:
        return ndarray.of(result)
    if not isinstance(out, ndarray):
        raise TypeError(f"output is a {type(out)}, not an array of the device")
    if not np.can_cast(result.dtype, out.dtype, "same_kind"):
        raise TypeError(f"output (typecode '{result.dtype.char}') could not be coerced to '{out.dtype.char}'")
    out.host[...] = result
    out.wrote()
    return out


def _written(memory: Memory, view: np.ndarray) -> np.ndarray:
    """The part of ``memory.written`` that a view covers."""
    offset = view.__array_interface__["data"][0] - memory.address
    if view.itemsize % 4 or offset % 4 or any(s % 4 for s in view.strides):
        low, high = np.lib.array_utils.byte_bounds(view)
        return memory.written[(low - memory.address) // 4 : -(-(high - memory.address) // 4)]
    shape, strides = (*view.shape, view.itemsize // 4), (*(s // 4 for s in view.strides), 1)
    return np.lib.stride_tricks.as_strided(memory.written[offset // 4 :], shape, strides)


def _tuple(key: Any) -> tuple[Any, ...]:
    return key if isinstance(key, tuple) else (key,)


def _basic(key: Any) -> bool:
    """Whether an index gives a view."""
    return all(k is None or k is Ellipsis or isinstance(k, int | np.integer | slice) for k in _tuple(key))


def _part(host: np.ndarray, key: Any) -> np.ndarray:
    """The view of an index, a single value too."""
    found = host[key]
    return found if isinstance(found, np.ndarray) else host[(*_tuple(key), ...)]


def _on_host(key: Any) -> Any:
    """An index whose arrays are NumPy's; CuPy takes either among indices."""
    host = tuple(k.read() if isinstance(k, ndarray) else k for k in _tuple(key))
    return host if isinstance(key, tuple) else host[0]


def _value(value: Any) -> Any:
    """What an operation works with: the values of a device array, or a scalar."""
    if isinstance(value, ndarray):
        return value.read()
    if isinstance(value, SCALARS):
        return value
    raise TypeError(f"Unsupported type {type(value)}")


def _operators() -> None:
    names = {"add": "add", "subtract": "sub", "multiply": "mul", "true_divide": "truediv"}
    for name, short in names.items():
        ufunc = getattr(np, name)
        setattr(ndarray, f"__{short}__", lambda self, other, f=ufunc: compute(f, self, other))
        setattr(ndarray, f"__r{short}__", lambda self, other, f=ufunc: compute(f, other, self))
        setattr(ndarray, f"__i{short}__", lambda self, other, f=ufunc: compute(f, self, other, out=self))
    for name, short in {"greater": "gt", "greater_equal": "ge", "less": "lt", "less_equal": "le"}.items():
        ufunc = getattr(np, name)
        setattr(ndarray, f"__{short}__", lambda self, other, f=ufunc: compute(f, self, other))
    ndarray.__neg__ = lambda self: compute(np.negative, self)  # type: ignore[attr-defined]


_operators()
