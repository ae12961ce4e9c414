"""Helpers of the rules: the checked configuration, and the inputs that depend on it."""

import json
import os
import sys
from functools import cache
from importlib import import_module
from inspect import signature
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError

# Rules run the Python that runs Snakemake, activated or not, and the cryocore of this checkout. Snakemake fetches a
# workflow from a repository file by file (docs/how-to/other-workflows.md): then it is the cryocore that is installed.
HERE = workflow.current_basedir
CHECKOUT = Path(HERE).parent if isinstance(HERE, os.PathLike) else None
os.environ.update(PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
if CHECKOUT:
    sys.path.insert(0, str(CHECKOUT))
    os.environ.update(PYTHONPATH=os.pathsep.join([str(CHECKOUT), os.environ.get("PYTHONPATH", "")]))

try:
    import cryocore
except ModuleNotFoundError:
    raise WorkflowError(f"{HERE}: read from a repository, these rules need the package cryocore. Install it.") from None
from cryocore.config.run import parse_config
from cryocore.config.classify import CLASSIFIERS
from cryocore.config.file import read_values
from cryocore.errors import InputError
from cryocore.formats.kinds import kind_of
from cryocore.workflow.provenance import Sources
from cryocore.workflow.resources import (
    START_MIN,
    START_SHORT_MIN,
    is_short,
    of_rounds,
    request_mb,
    request_min,
    size_of_data,
)
from cryocore.workflow.status import run_status
from cryocore.workflow.settings import stage_settings
from cryocore.workflow.watch import SchedulerWatch, require_writable

try:
    for file in workflow.configfiles:  # of a key given twice, Snakemake takes the last one
        if Path(file).suffix in (".yaml", ".yml") and Path(file).exists():
            read_values(file)
    CONFIG = parse_config(dict(config), file=", ".join(map(str, workflow.overwrite_configfiles)) or None)
except InputError as error:
    raise WorkflowError(str(error)) from None

if CONFIG.input.scratch:
    os.environ.update(CRYOCORE_SCRATCH=CONFIG.input.scratch)  # variables in it by their values where a stage runs

# On a cluster, the cores of the machine that submits are no limit for the jobs.
if workflow.resource_settings.nodes is not None:
    workflow.resource_settings.cores = None
    workflow.global_resources["_cores"] = None
elif "mem_mb" not in workflow.global_resources:  # one machine starts no more jobs than its memory holds
    workflow.global_resources["mem_mb"] = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20

# Every job starts Snakemake again: what code means is read once.
CODE = Sources(Path(cryocore.__file__).parents[1], kept=Path(".snakemake", "cryocore.code.json"))
N = CONFIG.n_rounds
GPUS = int(CONFIG.backend != "cpu")
ALL_CORES = 64  # Snakemake lowers it to the cores that there are; a cluster profile sets its own


def script(stage):
    """The program of a stage. As a Path it is no part of what decides about a rerun; `code` is."""
    return CHECKOUT / "scripts" / f"{stage}.py" if CHECKOUT else Path(workflow.source_path(f"../scripts/{stage}.py"))


def code(stage):
    """Every file that a stage's program runs, with a digest of what it means; a job reruns when one changes."""
    return [f"{file} {digest}" for file, digest in CODE.version(script(stage)).items()]


def program(stage, configured_as=None):
    """The params of a stage's job: its script, what it reads from the configuration, and its options.

    A job reruns when its settings change. Options are those inputs of the rule that have the name of one
    (cryocore/commands/stages/), where there are such files, and the part of the data.
    """
    taken = options_of(stage)

    def settings(wildcards):
        return json.dumps(stage_settings(CONFIG, configured_as or stage, int(wildcards.get("r", 0))), sort_keys=True)

    def options(wildcards, input):
        part = {"shard": f"{wildcards.s}/{CONFIG.n_shards}"} if wildcards.get("s") else {}
        given = [(name, value) for name, value in [*input.items(), *part.items()] if name in taken]
        listed = [(name, [value] if isinstance(value, str) else value) for name, value in given]
        return [text for name, values in listed for v in values for text in (f"--{name.replace('_', '-')}", v)]

    return {"script": script(stage), "settings": settings, "options": options}


def command(stage, files, launcher="python -P"):
    """The shell command of a stage: its files by place, its options, its settings, and where it runs.

    In a job of several nodes CRYOCORE_STEP starts it on one of them (cryocore/workflow/step.py).
    """
    taken = options_of(stage)
    asked = "--threads {threads} --mb {resources.mem_mb}" + (" --gpus {resources.gpu}" if "backend" in taken else "")
    step = f"${{{{CRYOCORE_STEP:+$CRYOCORE_STEP {asked} --}}}}"
    parts = [f"CRYOCORE_LOG={{log:q}} {step} {launcher} {{params.script:q}} {files} {{params.options:q}}"]
    parts += ["--settings {params.settings:q}"] if "settings" in taken else []
    parts += ["--backend {resources.backend} --threads {threads}"] if "backend" in taken else []
    return " ".join(parts)


def options_of(stage):
    """What the command line of a stage takes by name."""
    function = getattr(import_module(f"cryocore.commands.stages.{stage}"), stage)
    return [p.name for p in signature(function).parameters.values() if p.kind == p.KEYWORD_ONLY]


def given(path):
    """A file that the configuration names, if it names one; it has to be there."""
    if path is not None and any(sign in path for sign in "{}<>"):
        raise WorkflowError(f"{path}: Snakemake takes {{}} and <> in file names for patterns. Rename or link the file.")
    if path is not None and not Path(path).exists():
        raise WorkflowError(f"{path}: the configuration names this file, and it does not exist. Correct the path.")
    return [] if path is None else path


# Where the particles come from: simulated, planted with errors, or as they are; several files are joined first.
SOURCES = [given(path) for path in CONFIG.input.files]
SOURCE = "<results>/joined/particles.star" if len(SOURCES) > 1 else SOURCES[0] if SOURCES else []

if CONFIG.input.star is None:
    STAR = "<results>/simulated/particles.star"
    IMAGES = "<results>/simulated/particles.mrcs"
    TRUTH = "<results>/simulated/truth.parquet"
    TRUE_MAP = "<results>/simulated/true_map.mrc"
elif CONFIG.input.plant.total > 0:
    STAR = "<results>/planted/particles.star"
    IMAGES = "<results>/planted/junk.mrcs" if CONFIG.input.plant.junk > 0 else []
    TRUTH = "<results>/planted/truth.parquet"
    TRUE_MAP = given(CONFIG.input.true_map)
else:
    STAR = SOURCE
    IMAGES = []  # the STAR file names them; stacks of a microscope do not change
    TRUTH = given(CONFIG.input.truth)
    TRUE_MAP = given(CONFIG.input.true_map)

KIND = kind_of(STAR)  # selections are written in the format of the particles


# Where the data set is cut into parts, a job has the wildcard s, from 0, and its files lie in a folder of their number.
SHARDED = CONFIG.n_shards > 1
OF_SHARD = "_shard_{s}" if SHARDED else ""
TELLS_SHARD = ", shard {wildcards.s}" if SHARDED else ""


def part_of(name):
    """The file of one shard, which stands for ``name.suffix`` of all particles."""
    return f"_{CONFIG.n_shards}_shards/{{s}}.".join(name.rsplit(".", 1)) if SHARDED else name


def all_parts(name):
    """The files of all shards, in order; a round's wildcard stays."""
    return expand(part_of(name), s=range(CONFIG.n_shards), allow_missing=True)


CACHE = part_of("<results>/cache/transforms.npz") if CONFIG.input.cache else []
UNDIVIDED_CACHE = [] if SHARDED else CACHE

# The log of a round, and what is joined to it: the truth, where it is known, and a classifier's probability.
LOG = "<results>/log/round={r}/log.parquet"
KNOWN = "<results>/truth.parquet" if TRUTH else []
CLASSIFIES = CONFIG.classify.model != "none"
PROBABILITY = "<results>/round_{r}/probability.parquet" if CLASSIFIES else []
SCORED = part_of("<results>/round_{r}/scores.parquet") if SHARDED else LOG

# What reconstruct makes, and what a round's particles are scored by.
REFERENCE_MAPS = {name: f"<results>/round_{{r}}/{name}.mrc" for name in ("half1", "half2", "mask")} | {
    "fsc": "<results>/round_{r}/fsc.parquet",
    "sampling": "<results>/round_{r}/sampling.npz",
}
MAPS = REFERENCE_MAPS | {"map": "<results>/round_{r}/map.mrc"}


def subset(wildcards):
    """The particles in the map of round r; all of them in round 0."""
    return "<results>/round_{r}/subset.parquet" if int(wildcards.r) > 0 else []


def mask(wildcards):
    """Round 0 takes the user's mask, or region, or makes one; all other rounds use the mask of round 0."""
    own = given(CONFIG.score.region or CONFIG.reconstruct.mask)
    return "<results>/round_0/mask.mrc" if int(wildcards.r) > 0 else own


def given_model():
    """The description of a classifier that was made before, if the configuration names its folder."""
    model = CONFIG.classify.model
    if not CLASSIFIES or model in CLASSIFIERS:
        return []
    if not (Path(model) / "model.json").is_file():
        known = ", ".join(CLASSIFIERS)
        raise WorkflowError(f"classify.model: {model} is none of {known}, and no folder with a model.json. Correct it.")
    return given(str(Path(model) / "model.json"))


def start_network():
    """The network that a classifier goes on from, if the configuration names a folder of one."""
    start = CONFIG.classify.start
    return [] if start is None else given(str(Path(start) / "network.pt"))


def before(file, has=lambda r: True):
    """The file of the round before, of the pattern ``file``; none for rounds that do not have one: ``has(r)`` is 0."""

    def of_round(wildcards):
        r = int(wildcards.r)
        return file.replace("{r}", str(r - 1)) if file and has(r) else []

    return of_round


def before_if_selected(file):
    """The file of the round before; none where that one had all particles."""
    return before(file, lambda r: r > 1)


def previous_sums(sums):
    """The sums of the round before, which a round changes; every so often none."""
    return before(sums, lambda r: r % CONFIG.reconstruct.full_every)


def shown(file, caption, what):
    """A file that `snakemake --report` shows, with what `captions` say of it."""
    return report(file, caption=f"captions/{caption}.rst", category="Run", labels={"file": what})


@cache
def site_limit(key):
    """The most that a job may ask of a partition of the profile: ``max_mem_mb``, or minutes ``max_runtime``."""
    file = getattr(workflow.executor_settings, "partition_config", None)
    if not file:
        return float("inf")
    from snakemake_executor_plugin_slurm.utils import parse_time_to_minutes

    partitions = yaml.safe_load(Path(file).read_text())["partitions"].values()
    return max(parse_time_to_minutes(p.get(key, "1000d")) for p in partitions)


def needs(stage):
    """The memory and time that a stage's job asks for: by its data, more on each attempt, within the limits of the site."""

    def size(input):
        particles = input.get("particles") or ""
        return size_of_data(CONFIG, particles, tuple(input) if stage in ("join", "plant", "ingest") else ())

    def memory(wildcards, input, attempt):
        return request_mb(stage, size(input), CONFIG, attempt, site_limit("max_mem_mb"))

    def minutes(wildcards, input, threads, attempt):
        limit, part = site_limit("max_runtime"), SHORT and stage in of_rounds(CONFIG)
        how = (limit / len(of_rounds(CONFIG)) / (N + 1), START_SHORT_MIN) if part else (limit, START_MIN)
        return request_min(stage, size(input), CONFIG, threads, attempt, *how)

    return {"mem_mb": memory, "runtime": minutes}


SHORT = is_short(CONFIG)


def together(name=None, of_next_round=False):
    """Stages that follow each other in a round are one job of a cluster; where all rounds are short, they are one.

    Of a data set in parts only the short ones are, those of a ``name``: the others are jobs by themselves.
    """

    def group(wildcards):
        if SHORT:
            return "rounds"
        if not SHARDED:
            return f"round_{wildcards.r}"
        return f"{name}_{int(wildcards.r) + of_next_round}" if name else None

    return group


def watch_scheduler():
    """Have SLURM's words shown where it refuses a job, ends it, or does not start it."""
    plugin = workflow.executor_plugin
    if plugin is None or plugin.name != "slurm":
        return
    from snakemake.logging import logger
    from snakemake_executor_plugin_slurm import validate_account, validate_slurm_extra

    try:
        require_writable(Path(workflow.executor_settings.logdir or "logs"))
    except InputError as error:
        raise WorkflowError(str(error)) from None
    # The plugin asks this for each job, and waits without a word where jobs share a submission.
    jobs = list(workflow.dag.needrun_jobs())
    try:
        for account in {job.resources.get("slurm_account") for job in jobs} - {None}:
            validate_account(str(account), logger)
    except WorkflowError as error:
        fix = "Correct slurm_account under default-resources in config.yaml of the profile."
        raise WorkflowError(f"{error}\n{fix}") from None
    for job in jobs:
        validate_slurm_extra(job)
    SchedulerWatch(Path("logs", CONFIG.run), logger, {rule.name: rule for rule in workflow.rules}).start()


def print_failures():
    """Say which jobs failed, of what, in which log, and what to do."""
    logs = Path("logs", CONFIG.run)
    try:
        print("", *run_status(logs, ended=True).attention, sep="\n", file=sys.stderr)
    except InputError:
        pass  # nothing had begun
    try:
        require_writable(logs, "logs", "")
    except InputError as error:
        print(error, file=sys.stderr)


def print_rounds():
    """Show the table of rounds."""
    table = Path("results", CONFIG.run, "rounds.txt")
    if table.is_file():
        print("", table.read_text(), sep="\n")
