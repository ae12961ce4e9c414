"""What a digest notices of a text, and what it does not."""

from __future__ import annotations

import pytest

from cryocore.workflow import meaning

FUNCTION = "def f(x):\n    return x + 1\n"
FIELD = 'class A(Section):\n    n: int = Field(default=1, ge=0, description="how many")\n'


def letters(text: str, *, signatures: bool = False) -> str:
    return meaning.of_python(meaning.parse(text.encode(), signatures=signatures))


@pytest.mark.parametrize(
    ("text", "other"),
    [
        (FUNCTION, "# a comment\n\n\ndef f(x):  # another\n    return (x\n            + 1)\n"),
        (FUNCTION, '"""A module."""\n' + FUNCTION.replace("return", '"""Add one."""\n    return')),
        (FUNCTION, "from typing import Any\n\n" + FUNCTION.replace("(x)", "(x: Any) -> Any")),
        (FUNCTION, FUNCTION.replace("return", 'N: int\n    """Of nothing."""\n    return')),
        (FUNCTION, "if TYPE_CHECKING:\n    import numpy\n" + FUNCTION),
        (FUNCTION, "if typing.TYPE_CHECKING:\n    N = 1\nelse:\n    " + FUNCTION.replace("\n", "\n    ", 1)),
        ("N = 1\n", 'N: int = 1\n"""How many."""\n'),
        (FIELD, FIELD.replace("how many", "how many, of all")),
        (FIELD, 'class A(Section):\n    """A block."""\n\n    n: int = Field(default=1, ge=0, title="N")\n'),
        ("f(typer.Option('-n', help='a', metavar='N'))\n", "f(typer.Option('-n'))\n"),
        ('__version__ = "0.1.0"\n', '__version__ = "0.2.0"\n'),
        ("s = 'ä'\n", 's = u"\\u00e4"\n'),
    ],
)
def test_the_meaning_stays(text: str, other: str) -> None:
    assert letters(text) == letters(other)


@pytest.mark.parametrize(
    ("text", "other"),
    [
        (FUNCTION, FUNCTION.replace("+ 1", "+ 1.0")),
        (FUNCTION, FUNCTION.replace("+ 1", "- 1")),
        (FUNCTION, FUNCTION.replace("(x)", "(x, y=None)")),
        (FUNCTION, "@cache\n" + FUNCTION),
        (FUNCTION, FUNCTION.replace("return", "assert x, '' \n    return")),
        (FUNCTION, FUNCTION + "f(1)\n"),
        (FUNCTION, "import numpy\n" + FUNCTION),
        (FIELD, FIELD.replace("default=1", "default=2")),
        (FIELD, FIELD.replace("n: int", "n: float")),
        (FIELD, FIELD.replace("n: int", "m: int")),
        (FIELD, FIELD + "    m: int = 0\n"),
        ("axis.legend(title='round')\n", "axis.legend(title='round of')\n"),
        ("x = None\n", "x = False\n"),
        ("x = 0\n", "x = False\n"),
        ("x = 'a'\n", "x = b'a'\n"),
        ("x = [1, 2]\n", "x = [[1], 2]\n"),
        ("x = f'{a}b'\n", "x = f'{a!r}b'\n"),
        ("x = {**a}\n", "x = {None: a}\n"),
    ],
)
def test_the_meaning_changes(text: str, other: str) -> None:
    assert letters(text) != letters(other)


def test_typer_reads_the_annotations_of_functions() -> None:
    one, other = "def main(out: Path = None): ...\n", "def main(out: str = None): ...\n"
    assert letters(one) == letters(other)
    assert letters(one, signatures=True) != letters(other, signatures=True)


def test_letters_are_those_of_every_python() -> None:
    text = "def f(a, *, b=None):\n    return f'{a:>{b}}' 'c' if a else -1.5\n"
    assert letters(text) == (
        "Module(body=[FunctionDef(name='f',args=arguments(args=[arg(arg='a')],kwonlyargs=[arg(arg='b')],"
        "kw_defaults=[Constant()]),body=[Return(value=IfExp(test=Name(id='a'),body=JoinedStr(values=["
        "FormattedValue(value=Name(id='a'),conversion=-1,format_spec=JoinedStr(values=[Constant(value='>'),"
        "FormattedValue(value=Name(id='b'),conversion=-1)])),Constant(value='c')]),"
        "orelse=UnaryOp(op=USub(),operand=Constant(value=1.5))))])])"
    )


KERNEL = """\
#define TAPS 6
#include "common.cuh"
extern "C" void add(float *a, int n)
{
    for (int i = 0; i < n; i++) a[i] += 1.0f;
}
"""


@pytest.mark.parametrize(
    "other",
    [
        "// adds one\n" + KERNEL,
        KERNEL.replace("TAPS 6", "TAPS  6  // of the window"),
        KERNEL.replace("int n)\n{", "int n) {  // more"),
        KERNEL.replace("float *a, int n", "/* in place,\n   all of it */ float *a,\n    int n"),
        KERNEL.replace("    for", "\tfor").replace("i++)", "i++)\n       "),
    ],
)
def test_comments_and_layout_of_kernels_mean_nothing(other: str) -> None:
    assert other != KERNEL
    assert meaning.of_kernels(other) == meaning.of_kernels(KERNEL)


@pytest.mark.parametrize(
    "other",
    [
        KERNEL.replace("1.0f", "1.5f"),
        KERNEL.replace("TAPS 6", "TAPS 8"),
        KERNEL.replace("common", "others"),
        KERNEL.replace('"C"', '"C "'),
        KERNEL.replace("#define TAPS 6\n", "#define TAPS 6 "),
        KERNEL.replace("TAPS 6", "TAPS() 6"),
        KERNEL.replace("+= 1.0f", "+= n * 1.0f"),
        KERNEL.replace("a[i] +=", '"//"; a[i] +='),
    ],
)
def test_code_of_kernels_means_something(other: str) -> None:
    assert other != KERNEL
    assert meaning.of_kernels(other) != meaning.of_kernels(KERNEL)


def test_signs_side_by_side_are_not_confused() -> None:
    assert meaning.of_kernels("a = b++ + c") != meaning.of_kernels("a = b + ++c")
    assert meaning.of_kernels('"//" a') != meaning.of_kernels('"//" b')
    assert meaning.of_kernels("#define F(x) 1") != meaning.of_kernels("#define F (x) 1")
