"""Files that are not read, named by their content and, where that says nothing, by their suffix."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

BEGIN_BYTES = 1 << 16
MRC = "Write it as an MRC file"
TABLE = "Write a STAR file with RELION's labels"
MODEL = "Make a map of it, as ChimeraX's molmap does"


@dataclass(frozen=True)
class Known:
    """A kind of file: its name, for "it is ...", and what to do.

    ``kind`` is that of files which another reader of this package takes: star, mrc, npy or parquet.
    """

    name: str
    fix: str
    kind: str = ""


_COMPRESSED = "Decompress it"
_TIFF = Known("a TIFF file", f"{MRC}, as IMOD's tif2mrc does")
_EER = Known("an EER movie, a TIFF file", "Give the particles extracted from its motion-corrected micrographs")
_HDF = Known("an HDF5 file", f"{MRC}, as EMAN2's e2proc2d.py does")
_PICKLE = Known(
    "a Python pickle, which is never loaded because it may run code",
    "Write a STAR file of its particles, as cryoDRGN's cryodrgn_utils write_star does",
)
_EXCEL = Known("an Excel workbook", TABLE)
_DM = Known("a Gatan file", f"{MRC}, as IMOD's dm2mrc does")
_LIST = Known("an EMAN2 list", "Write the images that it names as an MRC stack, and their table as a STAR file")
_FREALIGN = Known("a FREALIGN parameter file", f"{TABLE}, and its angles, shifts and defoci under them")
_MODEL = Known("an atomic model (PDB)", MODEL)
_CIF = Known("an atomic model (mmCIF)", MODEL)
_DATABASE = Known("an SQLite database, as of a cisTEM or Scipion project", "Export the particles as a STAR file")
_IMAGIC = Known("an IMAGIC file", f"{MRC}, as EMAN2's e2proc2d.py does")
_PAGE = Known("a web page, not the file itself", "Download the file again")

_MAGIC: tuple[tuple[bytes, Known], ...] = (
    (b"\x1f\x8b", Known("compressed (gzip)", _COMPRESSED)),
    (b"BZh", Known("compressed (bzip2)", _COMPRESSED)),
    (b"\xfd7zXZ\0", Known("compressed (xz)", _COMPRESSED)),
    (b"\x28\xb5\x2f\xfd", Known("compressed (zstd)", _COMPRESSED)),
    (b"\x04\x22\x4d\x18", Known("compressed (lz4)", _COMPRESSED)),
    (b"\x1f\x9d", Known("compressed (compress)", _COMPRESSED)),
    (b"7z\xbc\xaf\x27\x1c", Known("a 7-Zip archive", "Unpack it")),
    (b"Rar!", Known("a RAR archive", "Unpack it")),
    (b"II*\0", _TIFF),
    (b"MM\0*", _TIFF),
    (b"II+\0", _TIFF),
    (b"MM\0+", _TIFF),
    (b"\x89HDF\r\n\x1a\n", _HDF),
    (b"\x94CSDAT", Known("a compressed cryoSPARC data set", "Export the particles as a .cs file in NumPy's format")),
    (b"\x93NUMPY", Known("a NumPy file, as .cs files are", "Give a .cs file of particles by that suffix", "npy")),
    (b"PAR1", Known("a Parquet table", "Give it where a table is read", "parquet")),
    (b"SQLite format 3\0", _DATABASE),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", _EXCEL),
    (b"%PDF", Known("a PDF document", "Give the data themselves")),
    (b"\x89PNG", Known("a PNG picture", MRC)),
    (b"\xff\xd8\xff", Known("a JPEG picture", MRC)),
    (b"GIF8", Known("a GIF picture", MRC)),
    (b"MATLAB 5.0", Known("a MATLAB file", MRC)),
    (b"IMODV1", Known("an IMOD model", "Give images or a table of particles")),
    (b"version https://git-lfs", Known("a pointer of Git LFS, not the file itself", "Fetch it with git lfs pull")),
)
_TEXT: tuple[tuple[str, Known], ...] = (
    (
        r"(?ms)^results:.*\bmetafile:",
        Known("a cryoSPARC result group (.csg)", "Give the .cs file that it names"),
    ),
    (r"(?m)^_cisTEM", Known("a cisTEM STAR file, which is not read", TABLE)),
    (r"(?m)^_wrp", Known("a STAR file of Warp or M", "Export the particles with RELION's labels")),
    (r"\A# XMIPP_STAR|(?m:^ _(angleRot|shiftX)\s*$)", Known("an Xmipp metadata file", TABLE)),
    (r"\A#(LST|LSX)\b", _LIST),
    (r"(?m)^_(atom_site|entry|cell)\.", _CIF),
    (r"\A(HEADER|REMARK|CRYST1|TITLE |COMPND|MODEL |ATOM  |HETATM|EXPDTA)", _MODEL),
    (r"(?im)\AC\s.*\bPSI\s+THETA\s+PHI\b", _FREALIGN),
    (
        r"(?m)^data_(optimiser|model|sampling)_general\b",
        Known("a RELION file about a refinement, without particles", "Give the file ..._data.star of that iteration"),
    ),
    (
        r"(?m)^data_(job|pipeline_general|joboptions_values)\b",
        Known("a RELION file about jobs, without particles", "Give the STAR file of a refinement or an extraction"),
    ),
    (r"(?i)\A\s*<(!doctype html|html)", _PAGE),
    (r"\A\s*<\?xml|\A\s*<Population", Known("an XML file", TABLE)),
    (r"\A\s*[\[{]\s*([\"\[{]|\Z)", Known("a JSON file", TABLE)),
    (r"(?m)^data_\S*\s*$", Known("a STAR file", "Give it where particles are read, as input.star", "star")),
)
_SUFFIXES = {
    **dict.fromkeys((".tif", ".tiff"), _TIFF),
    ".eer": _EER,
    **dict.fromkeys((".hdf", ".h5", ".hdf5", ".spr"), _HDF),
    **dict.fromkeys((".pkl", ".pickle"), _PICKLE),
    **dict.fromkeys((".xls", ".xlsx"), _EXCEL),
    **dict.fromkeys((".csv", ".tsv"), Known("a table of comma-separated values", TABLE)),
    **dict.fromkeys((".dm3", ".dm4"), _DM),
    **dict.fromkeys((".lst", ".lsx"), _LIST),
    ".par": _FREALIGN,
    ".cistem": Known("a cisTEM binary parameter file", TABLE),
    ".tbl": Known("a Dynamo table", TABLE),
    ".em": Known("an EM file, as of Dynamo or TOM", f"{MRC}, as EMAN2's e2proc2d.py does"),
    **dict.fromkeys((".hed", ".img"), _IMAGIC),
    **dict.fromkeys((".spi", ".xmp"), Known("a SPIDER file", f"{MRC}, as EMAN2's e2proc2d.py does")),
    ".xmd": Known("an Xmipp metadata file", TABLE),
    **dict.fromkeys((".box", ".cbox"), Known("a list of boxes", "Extract the particles and give their STAR file")),
    **dict.fromkeys((".db", ".sqlite"), _DATABASE),
    **dict.fromkeys((".pdb", ".ent"), _MODEL),
    **dict.fromkeys((".cif", ".mmcif"), _CIF),
    **dict.fromkeys((".population", ".source", ".species"), Known("a file of M", TABLE)),
    ".ser": Known("a TIA series", MRC),
    ".mat": Known("a MATLAB file", MRC),
    ".sel": Known("a selection file of Xmipp", TABLE),
    ".emx": Known("an EMX file", TABLE),
}
_METAFILE = re.compile(r"metafile:\s*['\"]?>?([^'\",}\s]+)")


def identify(path: str | Path, begin: bytes | None = None, *, but: str = "") -> Known | None:
    """What a file is that its reader does not understand, or None.

    Parameters
    ----------
    begin : its first bytes, at best ``BEGIN_BYTES`` of them; None reads them
    but : the kind that the reader takes: star, mrc, npy or parquet
    """
    path = Path(path)
    if begin is None or (len(begin) < BEGIN_BYTES and path.is_file() and not is_binary(begin)):
        begin = _first_bytes(path)
    found = _by_content(begin, path) or _SUFFIXES.get(path.suffix.lower())
    if found is None and begin and not is_binary(begin):
        found = Known("text", "Give an MRC file" if but == "mrc" else TABLE, "text")
    own = {but, "text"} if but == "star" else {but}
    return None if found is None or (but and found.kind in own) else found


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(BEGIN_BYTES)
    except OSError:
        return b""


def _by_content(begin: bytes, path: Path) -> Known | None:
    for magic, known in _MAGIC:
        if begin.startswith(magic):
            return _EER if known is _TIFF and path.suffix.lower() == ".eer" else known
    if begin.startswith(b"PK\x03\x04"):
        is_excel = path.suffix.lower() == ".xlsx" or b"[Content_Types].xml" in begin[:4096]
        return _EXCEL if is_excel else Known("a zip archive, as .npz files are", "Unpack it")
    if re.match(rb"\x80[\x02-\x05](\x95|[\]})(cN]|c)", begin[:3]):
        return _PICKLE
    if begin[257:262] == b"ustar":
        return Known("a tar archive", "Unpack it")
    if begin[208:212] == b"MAP ":
        return Known("an MRC file", "Give the table that names its images", "mrc")
    return None if is_binary(begin) else _by_text(begin)


def _by_text(begin: bytes) -> Known | None:
    text = begin.decode("utf-8", errors="replace").replace("\r\n", "\n")
    found = next((known for pattern, known in _TEXT if re.search(pattern, text)), None)
    tables = dict.fromkeys(_METAFILE.findall(text)) if found is _TEXT[0][1] else {}
    if found is None or not tables:
        return found
    return Known(found.name, f"Give the .cs file that it names: {', '.join(list(tables)[:3])}")


def is_binary(begin: bytes) -> bool:
    """Whether a text would not begin so: control characters besides white space."""
    return any(byte < 9 or 13 < byte < 32 for byte in begin[:1024])
