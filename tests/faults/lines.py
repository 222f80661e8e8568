"""Command lines as people type them, right and wrong, with what must come of each."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString
from hypothesis import strategies as st

# What must come of a piece of a command line: a number is the number of runs that it multiplies, and it is accepted.
REFUSED = 0
UNKNOWN = None


@dataclass(frozen=True)
class Piece:
    """Arguments that belong together.

    Attributes:
        typed: the arguments.
        runs: the number of runs that they ask for, times; REFUSED or UNKNOWN.
        key: what they set; two pieces that set the same have an unknown meaning.
        writes: the path, as it was typed, to which the command may write because of it.
    """

    typed: tuple[str, ...]
    runs: int | None = 1
    key: str = ""
    writes: str | None = None

    @property
    def places(self) -> list[str]:
        """The paths to which it may make the command write: without quotes, a comma makes a sweep over several."""
        if self.writes is None:
            return []
        is_sweep = self.key in ("runs_dir", "data_dir") and self.typed == (f"{self.key}={self.writes}",)
        return self.writes.split(",") if is_sweep else [self.writes]


@dataclass(frozen=True)
class Line:
    """A command line in its environment.

    Attributes:
        command: the module in `lmablate`.
        pieces: its arguments.
        environment: variables to set; None removes one.
        output: "utf-8", "ascii" or another encoding of stdout; "closed" if nobody reads it.
        files: the content of files, by their path below the working folder, that exist before.
        may_refuse: whether the environment or the files may be the reason for a refusal.
    """

    command: str
    pieces: tuple[Piece, ...]
    environment: Mapping[str, str | None] = field(default_factory=dict)
    output: str = "utf-8"
    files: Mapping[str, str] = field(default_factory=dict)
    may_refuse: bool = False

    @property
    def arguments(self) -> list[str]:
        return [argument for piece in self.pieces for argument in piece.typed]

    @property
    def runs(self) -> int | None:
        """The number of runs that the line asks for; REFUSED or UNKNOWN."""
        keys = [piece.key for piece in self.pieces if piece.key]
        known = [piece.runs for piece in self.pieces if piece.runs is not UNKNOWN]
        of_experiment = [key for key in keys if key.startswith(("seed", "name", "model", "arch"))]
        others = [piece.runs for piece in self.pieces if piece.key != "experiment"]
        if len(keys) > len(set(keys)) or ("experiment" in keys and of_experiment and REFUSED not in others):
            return UNKNOWN
        return math.prod(runs or 0 for runs in known) if len(known) == len(self.pieces) else UNKNOWN


# ------------------------------------------------------------------------------------------------------------ text

ODD = [
    "", " ", "~", "~/", "-", "--", "-x", "=", "==", ",", "'", '"', "\\", "a b", "a\nb", "a\tb", "\x1b[31mred", "\x7f",
    "\r", "é", "日本", "🙂", "\udcff", "\u202e", "\ufeff", "ﬁ", "null", "None", "nan", "inf", "-inf",
    "true", "1e3", "1_0",
    "0x1f", "007", "１２", "9" * 30, "1e999", "-0", "${seed}", "${oc.env:HOME}", "${oc.env:NOPE}", "${", "${x",
    "${now:%Y}",
    "${hydra:job.name}", "${oc.decode:1}", "$HOME", "`id`", "%s", "{}", "{a:1}", "[", "]", "[]", "[1,2", "(", ")",
    "f(x)",
    "choice()", "range(1)", "range(0,1e9,1)", "glob(", "interval(0,1)", "*", "?", "..", ".", "/", "//", "a/b", "a\\b",
    "a" * 300, "x" * 5000, "[" * 300, "<script>", "[red]x[/red]", "[/]", "!!python/object:os.system", "&a", "*a", "#",
    ":", "@", "a@b", "a:b", "+", "++", "~a", "_target_", "lmablate: ", "victim.txt",
]  # fmt: skip
CHARACTERS = st.characters(exclude_characters="\0", exclude_categories=("Cs",)) | st.sampled_from("\udc80\udcff=,/.")


def relative(text: str) -> str:
    """Return text that names no place outside the working folder, if it is taken for a path."""
    return text.lstrip("/~") if text.startswith(("/", "~")) else text


TEXT = st.sampled_from(ODD) | st.text(CHARACTERS, max_size=8) | st.lists(st.sampled_from(ODD), max_size=3).map("".join)
SAFE_TEXT = TEXT.map(relative)


def misspelled(words: Sequence[str]) -> st.SearchStrategy[str]:
    """Draw a word with one letter too few, too many, another, or two of them swapped."""

    def misspell(word: str, at: int, how: int, letter: str) -> str:
        at %= len(word)
        rest = word[at + 1 :]
        forms = [word[:at] + rest, word[:at] + letter + word[at:], word[:at] + letter + rest,
                 word[:at] + rest[:1] + word[at] + rest[1:]]  # fmt: skip
        return forms[how]

    wrong = st.builds(
        misspell, st.sampled_from(words), st.integers(0, 99), st.integers(0, 3), st.sampled_from("qzxjé_")
    )
    return wrong.filter(lambda word: word not in words)


# ------------------------------------------------------------------------------------------ paths, as they are typed

# Folders to write to, and whether that is possible.
NEW_FOLDERS: list[tuple[str, int | None]] = [
    ("new", 1), ("new/deeper/still", 1), ("./new/./x", 1), ("../beside/new", 1), ("~/new", 1), ("{root}/new", 1),
    (".", 1), ("empty", 1), ("link", 1), ("link/new", 1), ("with space", 1), ("a=b", 1), ("a(b)", 1), ("quo'te", 1),
    ('quo"te', 1),
    ("ünï/コード", 1), ("-dash", 1), ("..", 1), ("[red]", 1), ("a,b", 1), ("a b=(c) 'd'/new", 1), ("back\\slash", 1),
    ("new/", 1), ("*", 1), ("{curly}", 1), ("#x", 1), ("%d", 1), ("dollar$HOME", 1), ("line\nbreak", 1),
    ("", REFUSED), ("~nosuchuser/x", REFUSED), ("victim.txt", REFUSED), ("victim.txt/x", REFUSED),
    ("/dev/null", REFUSED), ("/dev/null/x", REFUSED), ("/proc/nope", REFUSED), ("n" * 300, REFUSED),
    ("n/" * 3000, REFUSED), ("dangling", UNKNOWN), ("dangling/x", UNKNOWN), ("sealed/x", UNKNOWN),
]  # fmt: skip
# Files to write.
NEW_FILES: list[tuple[str, int | None]] = [
    ("new.txt", 1), ("new/deep.txt", 1), ("~/new.txt", 1), ("{root}/new.txt", 1), ("a b.txt", 1), ("a=b.txt", 1),
    ("link/new.txt", 1), ("ü.txt", 1), ("(1).txt", 1), ("quo'te\".txt", 1), ("-x.txt", 1), (".hidden", 1),
    ("", REFUSED), (".", REFUSED), ("empty", REFUSED), ("~", REFUSED), ("~nosuchuser/x", REFUSED), ("link", REFUSED),
    ("victim.txt/x", REFUSED), ("/dev/null/x", REFUSED), ("/proc/nope", REFUSED), ("n" * 300, REFUSED),
    ("n/" * 3000, REFUSED), ("sealed/x", UNKNOWN), ("victim.txt", UNKNOWN), ("new/", UNKNOWN), ("dangling", UNKNOWN),
]  # fmt: skip
# Paths to read, at which there is nothing to be read.
NOTHING: list[tuple[str, int | None]] = [
    (path, REFUSED)
    for path in ("", "nowhere", "nowhere/x", "~nosuchuser", "~/nowhere", "/dev/null/x", "n" * 300, "n/" * 3000,
    "dangling",
                 "victim.txt/x", "*", "?", "no where", "no=where", "日本", "\udcff", "${HOME}", "-x/y", "no\nwhere")
]  # fmt: skip
NO_FOLDERS = [*NOTHING, ("victim.txt", REFUSED), ("/dev/null", REFUSED)]
WITHOUT_RUNS = ("empty", "notes")
NOT_A_FOLDER = [*NO_FOLDERS, *((name, REFUSED) for name in WITHOUT_RUNS)]
RUNS: list[tuple[str, int | None]] = [
    ("runs", 1), ("./runs", 1), ("{root}/up/up/up/work/runs", 1), ("~/../work/runs", 1), ("empty/../runs", 1),
    ("runs/", 1)
]  # fmt: skip


def quoted(value: str) -> str:
    """Return a value in quotes, as Hydra reads it."""
    return QuotedString(value, Quote.double).with_quotes()


def path_pieces(
    key: str, paths: Sequence[tuple[str, int | None]], of_hydra: bool, writes: bool
) -> st.SearchStrategy[Piece]:
    """Draw a path argument; for Hydra's grammar it stands in quotes, or it may be refused."""

    def piece(path: tuple[str, int | None], bare: bool) -> Piece:
        typed, runs = path
        if of_hydra and bare and not typed.replace("/", "").replace("~", "").replace(".", "").isalnum():
            return Piece((f"{key}={typed}",), UNKNOWN, key, typed if writes else None)
        value = quoted(typed) if of_hydra else typed
        return Piece((f"{key}={value}",), runs, key, typed if writes else None)

    return st.builds(piece, st.sampled_from(paths), st.booleans())


def pieces(key: str, values: Iterable[str] | st.SearchStrategy[str], runs: int | None) -> st.SearchStrategy[Piece]:
    """Draw KEY=VALUE."""
    drawn = values if isinstance(values, st.SearchStrategy) else st.sampled_from(list(values))
    return drawn.map(lambda value: Piece((f"{key}={value}",), runs, key))


# ---------------------------------------------------------------------------------- commands that compose configs

FINE = [
    "seed=0", "seed=1", "++seed=1", "name=x", "name=2024_11_25", "name=true", "name='a,b'", "name=a.b",
    "optim.lr=1e-2", "optim.lr=1", "optim.min_lr=0", "optim.min_lr=null", "optim.betas=[0.9,0.95]",
    "optim.grad_clip=.inf",
    "model/pos=rope", "model/pos=nope", "model/tying=true", "model/tying=false", "model/act=relu",
    "model.d_model=16", "train.eval_every=3", "train.log_every=2", "skip_failed=true", "model.pos.theta=10",
    "arch=vanilla",
    "model/norm=post", "model.norm.kind=layernorm", "train.compile=false", "seed=${train.max_steps}",
]  # fmt: skip
SWEEPS = [
    ("seed=0,1", 2), ("seed=1,0", 2), ("seed=range(0,2)", 2), ("seed=range(3)", 3), ("seed=choice(0,1)", 2),
    ("seed=sort(1,0)", 2), ("seed=sort(1,0,reverse=true)", 2), ("seed=shuffle(0,1)", 2), ("seed=tag(a,choice(0,1))", 2),
    ("seed=range(0,4,2)", 2), ("model/pos=rope,nope", 2), ("model/pos=glob(*)", 5), ("model/pos=glob(*ope)", 2),
    ("model/pos=choice(rope,nope)", 2), ("model/pos=glob(*,exclude=[alibi,learned,sin])", 2),
    ("model/tying=true,false", 2), ("model/tying=glob(*)", 2), ("model/tying=choice(true,false)", 2),
    ("model/act=sort(relu,swiglu)", 2), ("optim.lr=1e-3,1e-2", 2), ("optim.lr=choice(1e-3,1e-2)", 2),
    ("optim.betas=[0.9,0.95],[0.8,0.9]", 2), ("name=a,b", 2), ("name=1_0,2_0", 2),
    ("model.norm.kind=rmsnorm,layernorm", 2),
    ("++seed=0,1", 2), ("arch=llama,vanilla", 2), ("train.compile=false,false", 2),
]  # fmt: skip
KEYS = [
    "seed", "name", "optim.lr", "optim.betas", "optim.warmup_steps", "train.max_steps",
    "train.batch_size", "train.eval_every", "train.checkpoint_every", "train.precision", "train.threads",
    "model.d_model",
    "model.n_heads", "model.context_length", "tokenizer.vocab_size", "runs_dir", "data_dir", "skip_failed",
]  # fmt: skip
GROUPS = [
    "model/pos",
    "model/norm",
    "model/act",
    "model/tying",
    "model/init",
    "match",
    "experiment",
    "diagnostics",
    "arch",
]
WRONG = [
    "experiment=null", "model/pos=null", "seed=a", "seed=1.5", "seed=-1", "seed=true", "seed=null", "seed=[1]",
    "seed={a:1}", "seed=9223372036854775808",
    "seed=", "seed=1e3", "seed='x'", "seed=\"1", "seed=(1)", "seed=1=2", "seed=${nope}", "seed=${oc.env:NOPE}",
    "seed=interval(0,1)",
    "name=", "name=''", "name=a/b", "name=..", "name=.", "name=-x", "name=~", "name=../victim.txt", "name=/victim.txt",
    "name='a b'", "name=[a]", "name={a:1}", "name=null", "name=" + "n" * 200, "name=é", "name='a\nb'",
    "name=a:b",
    "optim.lr=fast", "optim.lr=-1", "optim.lr=nan", "optim.lr=inf", "optim.lr=null", "optim.lr=[1]", "optim.betas=3",
    "optim.betas=[0.9]", "optim.betas=[0.9,1]", "optim.betas=[a,b]", "optim.min_lr=2", "optim.grad_clip=0", "optim=3",
    "optim.warmup_steps=-1", "train.max_steps=0", "train.max_steps=1.5", "train.precision=bf15",
    "train.compile=yes please",
    "train.compile=1", "train.threads=-1", "train.device=gpu", "train.keep_checkpoints=1",
    "train=[]",
    "model.d_model=0", "model.d_model=x", "model.n_heads=3", "model.pos=rope", "model.pos.theta=abc", "model=null",
    "model.pos._target_=os.system", "model.pos={_target_:os.system}", "model.pos.nope=1", "+model.pos.nope=1",
    "model/pos=rop", "model/pos=", "model/pos=[rope,nope]", "model/pos=../pos/rope", "model/pos=rope.yaml",
    "model/pos=nope2", "model/po=rope", "pos=rope", "experiment=weight_tyin", "experiment=../x", "scale=huge",
    "tokenizer.vocab_size=256", "tokenizer.vocab_size=65537", "tokenizer.vocab_size=x", "tokenizer=null",
    "data.train=nowhere.txt", "data.train=", "data.train=null", "data.valid='~nosuchuser/x'", "data.train=empty",
    "data.train=[1]", "data.nope=1", "data=null", "+x=1", "++train.x=1", "~seed", "~x", "~model.pos", "x", "rope", "",
    " ", "=", "=3", "x=1", "x.y=1", "X=1", "+", "~", "++", "@", "a@b=1", "seed@x=1", "model/pos@x=rope", "-m=1",
    "runs_dir=null",
    "runs_dir=[a]", "runs_dir=''", "data_dir=", "data_dir={a:1}", "skip_failed=maybe", "skip_failed=1", "tracking=nope",
    "match=flop", "diagnostics.probes=3", "diagnostics.probes=[{_target_:os.system}]", "tracking.mode=x",
    "hydra/launcher=nope",
    "hydra.launcher.x=1", "hydra.callbacks.x={_target_:os.system}", "hydra.mode=FAST", "hydra.job.env_set={A:b}",
    "hydra.nope=1", "wandb_api_key=12345678", "+token=abc", "seed=glob(*)", "model/pos=glob(z*)", "seed=range(0)",
    "seed=choice()", "seed=range(1,2,0)", "seed=" + "[" * 300, "seed=" + "9" * 400, "x" * 5000,
]  # fmt: skip
WRONG_FLAGS = [
    ("--bogus",), ("--multrun",), ("-x",), ("--seed=3",), ("--config-dir",), ("--config-dir", "nowhere"),
    ("-cd", "victim.txt"),
    ("--config-path", "nowhere"), ("-cp", "victim.txt"), ("--config-name", "nope"), ("-cn", "../x"), ("--cfg",),
    ("-c", "x"), ("--config-dir", ""), ("---",), ("--watch",), ("-cn",), ("--resolve", "x"),
]  # fmt: skip
SHOWING = [
    ("--help",), ("-h",), ("--cfg", "job"), ("-c", "hydra"), ("--cfg=all",), ("--cfg", "job", "--resolve"), ("--info",),
    ("--info", "defaults"), ("-i", "config"), ("--hydra-help",), ("-p", "model"), ("--cfg", "job", "-p", "model.pos"),
    ("-r",), ("--run",), ("--resolve",), ("-c", "job", "-p", "nope"), ("--info", "nope"), ("--",),
    ("-r", "--cfg", "job"), ("-sc",), ("--shell-completion",), ("--version",), ("--cfg", "job", "--help"),
]  # fmt: skip
OF_HYDRA = [
    "hydra.run.dir=new", "hydra.run.dir=victim.txt", "hydra.sweep.dir=new", "hydra.sweep.dir=victim.txt",
    "hydra.verbose=true",
    "hydra.job.chdir=true", "hydra.output_subdir=.hydra", "hydra.job.name=x/y", "hydra.sweep.subdir=../../x",
    "hydra.verbose=x",
    "hydra.job.num=x", "hydra.sweeper.max_batch_size=1", "hydra.sweeper.params={seed:'0,1'}", "hydra.mode=RUN",
    "hydra=null", "hydra.searchpath=[file://nowhere]", "hydra.searchpath=[pkg://os]", "hydra.sweeper.params={a:1}",
    "hydra.sweeper.params=3",
    "hydra/sweeper=basic", "hydra/sweeper=nope", "hydra/help=default", "hydra/output=default", "hydra.mode=MULTIRUN",
    "hydra.sweeper.params={seed:[0,1]}", "hydra.sweeper.params={'':1}", "hydra.launcher=null", "hydra.sweep.dir=''",
    "hydra.job.override_dirname=x", "hydra.runtime.cwd=/", "hydra.job_logging.root.level=X", "hydra.job.config_name=x",
]  # fmt: skip
OVERRIDES = st.one_of(
    st.sampled_from(FINE).map(lambda typed: Piece((typed,), 1, key_of(typed))),
    st.sampled_from(FINE).map(lambda typed: Piece((typed,), 1, key_of(typed))),
    st.sampled_from(SWEEPS).map(lambda sweep: Piece((sweep[0],), sweep[1], key_of(sweep[0]))),
    st.sampled_from(SWEEPS).map(lambda sweep: Piece((sweep[0],), sweep[1], key_of(sweep[0]))),
)
MISTAKES = st.one_of(
    st.sampled_from(WRONG).map(lambda typed: Piece((typed,), REFUSED, key_of(typed))),
    st.sampled_from(WRONG_FLAGS).map(lambda typed: Piece(typed, REFUSED)),
    misspelled([*KEYS, *GROUPS]).map(lambda key: Piece((f"{key}=1",), REFUSED, key)),
    st.tuples(st.sampled_from(GROUPS), misspelled(["rope", "nope", "post", "params", "swiglu"])).map(
        lambda pair: Piece((f"{pair[0]}=no{pair[1]}",), REFUSED, pair[0])
    ),
    misspelled(["--multirun", "--config-dir", "--config-name"]).map(lambda flag: Piece((flag,), REFUSED)),
)
GUESSES = st.one_of(
    TEXT.map(lambda text: Piece((relative(text),), UNKNOWN)),
    st.tuples(
        st.sampled_from([key for key in KEYS if key not in ("train.max_steps", "runs_dir", "data_dir")]), SAFE_TEXT
    ).map(lambda pair: Piece(("=".join(pair),), UNKNOWN, pair[0])),
    st.tuples(st.sampled_from(GROUPS), SAFE_TEXT).map(lambda pair: Piece(("=".join(pair),), UNKNOWN, pair[0])),
    st.tuples(SAFE_TEXT, SAFE_TEXT).map(lambda pair: Piece(("=".join(pair),), UNKNOWN)),
    st.sampled_from(SHOWING).map(lambda typed: Piece(typed, UNKNOWN)),
    st.sampled_from(OF_HYDRA).map(lambda typed: Piece((typed,), UNKNOWN, writes="new")),
)


def key_of(typed: str) -> str:
    return typed.partition("=")[0].lstrip("+~")


# Experiments in a user's own folder, and the number of their runs.
EXPERIMENTS: list[tuple[str, int | None]] = [
    ("name: mine\n", 1),
    ("name: '2024_11_25'\n", 1),
    ("name: mine\nhydra: {mode: MULTIRUN, sweeper: {params: {seed: '0,1'}}}\n", 2),
    ("name: mine\nhydra: {mode: MULTIRUN, sweeper: {params: {model/tying: 'true,false', seed: 'range(2)'}}}\n", 4),
    ("name: mine\nhydra: {mode: MULTIRUN, sweeper: {params: {model/pos: 'glob(*)'}}}\n", 5),
    ("name: mine\nhydra: {mode: MULTIRUN, sweeper: {params: {seed: '${scale.seeds}'}}}\n", 2),
    ("name: mine\nhydra: {mode: MULTIRUN, sweeper: {params: {seed: 3}}}\n", 1),
    *[
        (f"name: {name}\n", REFUSED)
        for name in ("../../victim.txt", "/victim.txt", "a/b", "''", "2024_11_25", "1e3", "true", "null", "[a]",
        "{a: b}", "..",
                     "-x", "~", "'a b'", '"a\\0b"', '"a\\nb"', "n" * 200, "é", "${nope}", "'${oc.env:NOPE}'",
                     "''\nseed: x",
                     "a\nunknown: 1", "a\nmodel: {pos: {_target_: os.system}}", "a\ntrain: 3", "a\nseed: -1",
                     "a\nmodel: null")
    ],
    *[
        (text, UNKNOWN)
        for text in ("", "[]", "3", "a: b: c", "\t", "%", "name: a\nname: b\n", "- a\n", "&a [*a]",
        "\ufeffname: mine\n",
                     "name: mine\r\n", "defaults: [nope]\n", "defaults: 3\n",
                     "defaults: [{override /model/pos: nope}]\n",
                     "name: a\nhydra: 3\n", "hydra: {mode: FAST}\n", "hydra: {sweeper: {params: 3}}\n",
                     "hydra: {mode: MULTIRUN, sweeper: {params: {seed: [0, 1]}}}\n",
                     "hydra: {mode: MULTIRUN, sweeper: {params: {model/tying: true}}}\n",
                     "hydra: {mode: MULTIRUN, sweeper: {params: {seed: null}}}\n",
                     "hydra: {mode: MULTIRUN, sweeper: {params: {seed: '0,'}}}\n",
                     "hydra: {mode: MULTIRUN, sweeper: {params: {'': '0,1'}}}\n",
                     "hydra: {mode: MULTIRUN, sweeper: {params: {nope: '0,1'}}}\n",
                     "hydra: {mode: MULTIRUN, sweeper: {params: {1: '0,1'}}}\n",
                     "hydra: {mode: MULTIRUN, sweeper: {params: {seed: '${nope}'}}}\n",
                     "hydra: {mode: MULTIRUN, sweeper: {params: {experiment: 'llama,vanilla'}}}\n",
                     "hydra: {run: {dir: victim.txt}}\n", "hydra: {launcher: {_target_: os.system}}\n",
                     "name: mine\nhydra: {sweeper: {params: {seed: '0,1'}}}\n")
    ],
]  # fmt: skip
FROM_CONF = [("positional_encoding", 8), ("llama", 2), ("weight_tying", UNKNOWN), ("warmup", UNKNOWN), ("aa", UNKNOWN)]

VARIABLES: dict[str, list[str | None]] = {
    "OMP_NUM_THREADS": ["1", "4,2", "x", "0", "-1", "", "1.5", "9" * 30, "１"],
    "RANK": ["0", "1", "x", "", "-1"],
    "WORLD_SIZE": ["1", "x", "0", "-2", "1.5", "", "9" * 30],
    "LOCAL_RANK": ["0", "x", "9"],
    "MASTER_ADDR": ["127.0.0.1", "", "no such host"],
    "MASTER_PORT": ["29500", "x", "0", "99999999"],
    "SLURM_NTASKS": ["4", "x"],
    "SLURM_PROCID": ["3", "x"],
    "SLURM_JOB_ID": ["17", "x", ""],
    "SLURM_STEP_ID": ["0"],
    "SLURM_STEP_NUM_TASKS": ["1", "x", ""],
    "SLURM_ARRAY_JOB_ID": ["4", ""],
    "WANDB_MODE": ["disabled", "offline", "x", "", "DISABLED"],
    "WANDB_DISABLED": ["true", "x", "", "1"],
    "HOME": ["nowhere", "victim.txt", "{root}/home"],
    "COLUMNS": ["1", "0", "x", "-5", "100000", ""],
    "LINES": ["x", "0"],
    "TERM": ["dumb", "xterm-256color", ""],
    "NO_COLOR": ["1"],
    "FORCE_COLOR": ["1"],
    "LMABLATE_SCALAR": ["1", "x", ""],
    "HYDRA_FULL_ERROR": ["0", "1"],
    "WANDB_API_KEY": ["seed=0;", "work", "12345678"],
    "TMPDIR": ["nowhere"],
    "SEED": ["0"],
    "PYTHONWARNINGS": ["error"],
    "TZ": ["Nowhere/X"],
    "LC_ALL": ["C", "xx_YY"],
}
ENVIRONMENTS = st.just({}) | st.dictionaries(st.sampled_from(sorted(VARIABLES)), st.integers(0, 99), max_size=3).map(
    lambda drawn: {name: VARIABLES[name][number % len(VARIABLES[name])] for name, number in drawn.items()}
)
OUTPUTS = st.sampled_from(["utf-8"] * 6 + ["ascii", "latin-1", "closed"])


def compose_lines(command: str, data: Sequence[str], mistakes: float) -> st.SearchStrategy[Line]:
    """Draw lines of a command that composes configs.

    Args:
        command: train, prepare, plan, audit, lr_sweep or status.
        data: the overrides that choose the corpus.
        mistakes: the share of the lines that have a mistake on purpose, and so cost little.
    """

    @st.composite
    def draw_line(draw: Callable[..., Any]) -> Line:
        base = draw(st.sampled_from([("--config-dir", "configs"), ("--config-dir=configs",), ("-cd", "./configs")]))
        chosen = ["scale=tiny", *data, "tracking=none", "diagnostics=none", "hydra/launcher=basic"]
        fixed = [Piece(base), *(Piece((typed,), 1, key_of(typed)) for typed in chosen)]
        runs_dir = "runs" if command not in ("train", "lr_sweep") else "{kept}"
        drawn = draw(st.lists(OVERRIDES, max_size=2))
        if draw(st.integers(0, 9)) == 0:
            drawn.append(
                draw(st.sampled_from(FROM_CONF).map(lambda e: Piece((f"experiment={e[0]}",), e[1], "experiment")))
            )
        files, may_refuse = {}, False
        if draw(st.integers(0, 4)) == 0:
            text, runs = draw(st.sampled_from(EXPERIMENTS))
            files["configs/experiment/drawn.yaml"] = f"# @package _global_\n{text}"
            drawn.append(Piece(("experiment=drawn",), runs, "experiment"))
        if draw(st.floats(0, 1, exclude_max=True)) < mistakes:
            drawn.append(draw(MISTAKES))
        elif draw(st.booleans()):
            drawn.append(draw(GUESSES))
        if draw(st.integers(0, 19)) == 0:  # only who trains needs the device, another machine may have it
            trains = command in ("train", "lr_sweep")
            drawn.append(Piece(("train.device=cuda:99",), REFUSED if trains else 1, "train.device"))
        if draw(st.integers(0, 7)) == 0:
            drawn.append(draw(path_pieces("runs_dir", NEW_FOLDERS, of_hydra=True, writes=True)))
        else:
            fixed.append(Piece((f"runs_dir={runs_dir}",), 1, "runs_dir", runs_dir))
        if draw(st.integers(0, 9)) == 0:
            drawn.append(draw(path_pieces("data_dir", NEW_FOLDERS, of_hydra=True, writes=True)))
        if command == "audit" and draw(st.integers(0, 3)) == 0:
            drawn.append(draw(path_pieces("out", NEW_FILES, of_hydra=False, writes=True)))
        sweeps = any(piece.runs is not UNKNOWN and piece.runs > 1 for piece in drawn)
        if draw(st.booleans()) or (sweeps and draw(st.integers(0, 3)) > 0):
            drawn.append(Piece((draw(st.sampled_from(["-m", "--multirun"])),)))
        elif sweeps and command in ("train", "prepare") and not any(p.key == "experiment" for p in drawn):
            drawn.append(Piece((), REFUSED))  # commas without -m
        if command == "lr_sweep":  # it trains in processes of its own, but not with this
            drawn.append(Piece(("optim.weight_decay=-1",), REFUSED, "optim.weight_decay"))
        line = tuple(draw(st.permutations([*fixed, *drawn])))
        environment = draw(ENVIRONMENTS)
        return Line(command, line, environment, draw(OUTPUTS), files, may_refuse or bool(environment))

    return draw_line()


# --------------------------------------------------------------------------------------- commands of KEY=VALUE only

WHOLE: list[tuple[str, int | None]] = [
    ("1", 1), ("2", 1), ("0", UNKNOWN), ("-1", REFUSED), ("", REFUSED), ("x", REFUSED), ("1.5", REFUSED),
    ("1e3", REFUSED),
    ("null", REFUSED), ("true", REFUSED), ("1_0", REFUSED), ("１", REFUSED), (" 1", REFUSED), ("1 ", REFUSED),
    ("nan", REFUSED),
    ("+1", UNKNOWN), ("0x1", REFUSED), ("-" + "9" * 30, REFUSED), ("1\n", REFUSED), ("9" * 5000, REFUSED),
    ("[1]", REFUSED),
]  # fmt: skip
NUMBER: list[tuple[str, int | None]] = [
    ("1", 1), ("0.5", 1), (".5", 1), ("1e-3", 1), ("0", UNKNOWN), ("-1", REFUSED), ("nan", REFUSED), ("x", REFUSED),
    ("", REFUSED),
    ("-inf", REFUSED), ("1,5", REFUSED), ("1_0.5", REFUSED), ("１", REFUSED), (" 1", REFUSED), ("0x1p3", REFUSED),
    ("null", REFUSED), ("-1e-300", REFUSED), ("-nan", REFUSED), ("1e", REFUSED), ("infinity", UNKNOWN),
]  # fmt: skip
DEVICES = [("cpu", 1), ("auto", 1), ("gpu", REFUSED), ("", REFUSED), ("CPU", REFUSED), ("cuda:99", REFUSED),
("mps", REFUSED),
           ("cuda:-1", REFUSED), ("cpu:0", REFUSED), ("null", REFUSED), ("meta", REFUSED),
           ("cuda:x", REFUSED)]  # fmt: skip
RUN_NAMES: list[tuple[str, int | None]] = [
    ("runs/{run}", 1), ("{run}", 1), ("prenorm", 1), ("./runs/{run}", 1), ("~/../work/runs/{run}", 1),
    ("runs/{run}/", 1),
    ("{root}/up/up/up/work/runs/{run}", 1), *NOT_A_FOLDER, (".", REFUSED), ("..", REFUSED), ("runs", REFUSED),
    ("PRENORM", REFUSED),
    ("../beside", REFUSED), ("runs/*", REFUSED), ("null", REFUSED), ("runs/{run}/run.json", REFUSED),
    ("x" * 5000, REFUSED),
]  # fmt: skip
EXPERIMENT_NAMES: list[tuple[str, int | None]] = [
    ("adhoc", 1), ("all", 1), ("", REFUSED), ("nope", REFUSED), ("../victim", REFUSED), ("..", REFUSED),
    ("a/b", REFUSED),
    ("/x", REFUSED), ("~", REFUSED), ("-x", REFUSED), ("Adhoc", REFUSED), ("adhoc,x", REFUSED), ("null", REFUSED),
    ("*", REFUSED),
    ("adhoc.runs", REFUSED), ("adhoc ", REFUSED), ("n" * 300, REFUSED), ("é", REFUSED), ("a\nb", REFUSED),
    ("\udcff", REFUSED), ("adhoc,adhoc", REFUSED), (".", REFUSED), ("\x1b[31m", REFUSED),
]  # fmt: skip
SEEDS = [("0", 1), ("9223372036854775807", 1), ("9223372036854775808", REFUSED), ("-1", REFUSED), ("1_0", REFUSED),
         ("1.0", REFUSED), ("x", REFUSED), ("17592186044416", 1), ("１", REFUSED), ("", REFUSED)]  # fmt: skip
FORMS = [
    ("plain", 1),
    ("gzip", 1),
    ("none", 1),
    ("GZIP", REFUSED),
    ("", REFUSED),
    ("csv", REFUSED),
    ("plain ", REFUSED),
]
SOURCES = [("metrics", 1), ("wandb", REFUSED), ("csv", UNKNOWN), ("", REFUSED), ("Metrics", REFUSED), ("x", REFUSED)]
OVERWRITE: list[tuple[str, int | None]] = [("true", 1), ("false", 1), ("yes", REFUSED), ("1", REFUSED), ("", REFUSED)]
KINDS: list[tuple[str, int | None]] = [
    ("failed", 1), ("died", 1), ("superseded,failed", 1), ("failed,failed", 1), ("", REFUSED), ("failed,", REFUSED),
    ("Failed", REFUSED), ("done", REFUSED), ("failed died", REFUSED), ("null", REFUSED), ("\x1b[31m", REFUSED),
]  # fmt: skip
HOW = [("hide", 1), ("delete", 1), ("", REFUSED), ("Hide", REFUSED), ("remove", REFUSED), ("null", REFUSED)]
# Of each command: the keys that a line must have, and those that it may have, with their values; the keys that write.
Values = Sequence[tuple[str, int | None]]
NEEDED: dict[str, dict[str, Values]] = {
    "evaluate": {"run": RUN_NAMES},
    "generate": {"run": RUN_NAMES, "max_tokens": [("1", 1), ("2", 1), *WHOLE[3:]]},
    "export": {},
    "clean": {},
    "figures": {},
    "report": {},
    # The world's experiment is one run, in which nothing varies.
    "effects": {"experiment": [(name, UNKNOWN if runs else runs) for name, runs in EXPERIMENT_NAMES]},
    "export_hf": {"run": RUN_NAMES, "out": NEW_FOLDERS},
}
POSSIBLE: dict[str, dict[str, Values]] = {
    "evaluate": {
        "runs_dir": RUNS, "batch_size": [*WHOLE, ("9" * 30, REFUSED)], "device": DEVICES,
        "data_dir": [("null", 1), ("data", 1), *NEW_FOLDERS],
    },
    "generate": {
        "runs_dir": RUNS, "seed": SEEDS, "temperature": NUMBER, "top_k": [*WHOLE, ("9" * 30, REFUSED)], "top_p": NUMBER,
        "device": DEVICES, "prompt": [(text, 1 if text.isprintable() or text.isascii() else UNKNOWN) for text in ODD],
        "prompts": [("prompts.txt", 1), *NOTHING, ("empty", REFUSED)],
    },
    "export": {
        "runs_dir": [*RUNS, *NOT_A_FOLDER], "experiment": EXPERIMENT_NAMES, "source": SOURCES, "out": NEW_FOLDERS,
        "folder": [("null", 1), ("odd", UNKNOWN), *NOT_A_FOLDER], "every": [*WHOLE, ("9" * 30, REFUSED)],
        "digits": [("6", 1), ("1", 1), *WHOLE[3:], ("9" * 30, REFUSED)], "csv": FORMS,
        "step_every": [*WHOLE, ("9" * 30, REFUSED)],
        "step_digits": [("null", 1), ("3", 1), *WHOLE[3:], ("9" * 30, REFUSED)],
    },
    "figures": {"experiment": EXPERIMENT_NAMES, "exports": [("analysis/exports", 1), ("odd", UNKNOWN), *NOT_A_FOLDER],
                "out": NEW_FOLDERS},
    "report": {"exports": [("analysis/exports", 1), ("odd", UNKNOWN), *NOT_A_FOLDER], "out": NEW_FILES,
    "verdicts": NEW_FILES,
               "claims": [("odd", UNKNOWN), ("configs/scale", REFUSED), *NOT_A_FOLDER], "figures": NEW_FOLDERS,
               "markdown": [("null", 1), *NEW_FILES], "experiment": EXPERIMENT_NAMES,
               "runs_dir": [("null", 1), *RUNS, *NOT_A_FOLDER], "notebook": OVERWRITE,
               "reference": [("null", 1), ("adhoc", UNKNOWN), ("", UNKNOWN), ("a=b,c", UNKNOWN), ("\x1b", UNKNOWN)]},
    "effects": {
        "exports": [("analysis/exports", 1), ("odd", UNKNOWN), *NOT_A_FOLDER], "out": NEW_FOLDERS,
        "base": [(text, UNKNOWN) for text in ODD], "metric": [("val/loss", 1), *((text, UNKNOWN) for text in ODD)],
    },
    "export_hf": {"runs_dir": RUNS},
    # Where there is no run, there is nothing to clean, and that is done.
    "clean": {
        "runs_dir": [*RUNS, *NO_FOLDERS, *((name, 1) for name in WITHOUT_RUNS)], "which": KINDS, "how": HOW,
        "apply": OVERWRITE,
    },
}  # fmt: skip
for command in ("export", "figures", "report", "effects", "export_hf"):
    POSSIBLE[command]["overwrite"] = OVERWRITE
# Commands that take seconds if nothing is wrong; the test in real processes lets them succeed.
EXPENSIVE = ("figures", "report")
WRITING = {"out", "verdicts", "markdown", "figures", "data_dir"}
CLAIM = ("id: T01\ntext: x\nreported: x\nquestion: x\nexperiment: adhoc\n", "")
# Files in the folder `odd`, as somebody may have left them there.
ODD_FILES = ["chart.csv", "T01.yaml", "adhoc.parquet", "adhoc.runs.csv", "x.runs.csv", "prompts.txt", "a b.csv",
"日本.csv", ".csv",
             "wandb/offline-run-1/run-1.wandb", "x/run.json", "x/status.json"]  # fmt: skip
CONTENTS = [
    "", "\n", ",", "Step\n", "Step,a - train/loss\n", "Step,a - train/loss\n0,1\n", "Step,_base-s0 - val/loss\n1,2.5\n",
    'Step,"a/../b - train/loss"\n0,1\n', "Step,a - train/loss\nx,y\n", "Step, - train/loss\n0,\n",
    "Step,a - train/loss\n1e99,1\n",
    "run,step\n,\n", "\ufeffStep,a - train/loss\r\n0,1\r\n", "\x00", "{}", '{"id": 1}', '{"identity": {}}', "[]",
    "null", "id: T01",
    "id: ../../x\ntext: y\n", "- a\n", "a: b: c", "*a", "experiment,run,seed,state\nadhoc,../x,0,done\n", "PAR1",
    "x" * 70000,
    "run,experiment,seed,state\n", "Step,日本 - train/loss\n0,1\n", "Step,a - train/loss,a - train/loss\n0,1,2\n",
    CLAIM[0],
]  # fmt: skip


def key_value_lines(command: str, mistakes: float) -> st.SearchStrategy[Line]:
    """Draw lines of a command of KEY=VALUE arguments only; `mistakes` is the share that has one on purpose."""
    needed, possible = NEEDED[command], POSSIBLE[command]
    keys = [*needed, *possible]

    @st.composite
    def draw_line(draw: Callable[..., Any]) -> Line:
        chosen = [*needed, *draw(st.lists(st.sampled_from(sorted(possible)), max_size=4, unique=True))]
        drawn = []
        careful = draw(st.floats(0, 1, exclude_max=True)) >= mistakes
        for key in chosen:
            values = (needed | possible)[key]
            fine = [value for value in values if value[1] != REFUSED]
            value, runs = draw(st.sampled_from(fine if careful else values))
            drawn.append(Piece((f"{key}={value}",), runs, key, value if key in WRITING else None))
        given = {piece.key for piece in drawn}
        if {"prompt", "prompts"} <= given:
            drawn.append(Piece((), UNKNOWN))
        if not careful and draw(st.booleans()):
            drawn.append(
                draw(
                    st.one_of(
                        misspelled(keys).map(lambda key: Piece((f"{key}=1",), REFUSED)),
                        st.sampled_from(["x", "", "=", "=1", "-x", "--run", "-m", "--multirun", "--seed=1"]).map(
                            lambda typed: Piece((typed,), REFUSED)
                        ),
                        TEXT.filter(lambda text: text.partition("=")[0] not in keys).map(
                            lambda text: Piece((text,), REFUSED if text not in ("--help", "-h") else UNKNOWN)
                        ),
                        st.sampled_from(drawn or [Piece(("a=b",))]).map(lambda piece: Piece(piece.typed, REFUSED)),
                        st.tuples(st.sampled_from(keys), SAFE_TEXT).map(
                            lambda pair: Piece(("=".join(pair),), UNKNOWN, pair[0], pair[1])
                        ),
                        st.sampled_from([("--help",), ("-h",)]).map(lambda typed: Piece(typed, UNKNOWN)),
                    )
                )
            )
        if command in EXPENSIVE and not any(piece.runs == REFUSED or "exports=odd" in piece.typed for piece in drawn):
            drawn.append(Piece(("overwrite=nope",), REFUSED))
        files = {}
        if draw(st.booleans()):
            names = draw(st.lists(st.sampled_from(ODD_FILES), max_size=3, unique=True))
            files = {f"odd/{name}": draw(st.sampled_from(CONTENTS)) for name in names}
        files["prompts.txt"] = "".join(
            draw(st.lists(st.sampled_from(["a\n", "\n", "the cat\n", "日本\n"]), min_size=1, max_size=3))
        )
        environment = draw(ENVIRONMENTS)
        line = tuple(draw(st.permutations(drawn)))
        return Line(command, line, environment, draw(OUTPUTS), files, bool(environment) or "odd" in str(line))

    return draw_line()
