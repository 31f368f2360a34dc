"""Synthetic DICOM series: CT phantoms of several scanners, canaries in patient, private and pixel data."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING

from sandbox.canaries import CanaryKind, CanaryMint
from sandbox.canaries.tokens import SHORT_TOKEN_LENGTH
from sandbox.cohorts.draw import Draw
from sandbox.cohorts.model import CohortFiles, CohortRequest
from sandbox.cohorts.nifti import as_nifti
from sandbox.cohorts.phantom import SCANNERS, Volume, make_phantom, plant_pixels

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset

DEFAULT_SERIES = 2
SHAPE = (48, 48, 12)
PRIVATE_GROUP = 0x0099
PRIVATE_CREATOR = "SYNTHETIC COHORT"

_CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
_EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
_STRATA = (("F", "034Y"), ("M", "058Y"), ("F", "071Y"), ("M", "029Y"), ("F", "049Y"), ("M", "080Y"))


def make_dicom(request: CohortRequest) -> CohortFiles:
    """`request.size` series `series-NNN/slice-NNNN.dcm` of one patient each; the truth of each is its lesion mask."""
    files = CohortFiles()
    for number in range(1, (request.size or DEFAULT_SERIES) + 1):
        make_series(request, number, files)
    return files


def make_series(request: CohortRequest, number: int, files: CohortFiles) -> None:
    """Add series `number` (from 1) to `files`."""
    folder = f"series-{number:03d}"
    mint = CanaryMint(request.seed)
    volume = make_phantom(Draw(request.seed, folder), SCANNERS[(number - 1) % len(SCANNERS)], SHAPE)
    pixels = mint.token(CanaryKind.PIXEL, f"{folder}#pixels")
    files.plant(pixels)
    plant_pixels(volume.voxels, pixels)

    def planted(kind: CanaryKind, place: str, length: int = 20) -> str:
        return files.plant(mint.token(kind, f"{folder}#{place}", length=length))

    family, given = planted(CanaryKind.IDENTIFIER, "family name"), planted(CanaryKind.IDENTIFIER, "given name")
    marks = {
        "PatientName": f"{family}^{given}",
        "PatientID": planted(CanaryKind.IDENTIFIER, "PatientID"),
        "AccessionNumber": planted(CanaryKind.IDENTIFIER, "AccessionNumber", SHORT_TOKEN_LENGTH),
        "PatientComments": f"Referred by {planted(CanaryKind.TEXT, 'PatientComments')}",
    }
    private = planted(CanaryKind.HEADER, "private tag")
    for index in range(SHAPE[2]):
        data = _slice(request.seed, folder, number, volume, index)
        for keyword, value in marks.items():
            setattr(data, keyword, value)
        data.private_block(PRIVATE_GROUP, PRIVATE_CREATOR, create=True).add_new(0x01, "LO", private)
        files.inputs[f"{folder}/slice-{index + 1:04d}.dcm"] = as_bytes(data)
    files.truth[folder] = (f"{folder}.nii.gz", as_nifti(volume.mask, volume.scanner))


def as_bytes(data: Dataset) -> bytes:
    """The data set as a DICOM file (PS3.10) with preamble and file meta information."""
    import pydicom

    stream = io.BytesIO()
    pydicom.dcmwrite(stream, data, enforce_file_format=True)
    return stream.getvalue()


def _slice(seed: int, folder: str, number: int, volume: Volume, index: int) -> FileDataset:
    """One CT image; stored values are Hounsfield units plus 1024, but for the marker's row."""
    import numpy as np
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID

    instance = _uid(seed, f"{folder} slice {index}")
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(_CT_IMAGE_STORAGE)
    meta.MediaStorageSOPInstanceUID = UID(instance)
    meta.TransferSyntaxUID = UID(_EXPLICIT_LITTLE_ENDIAN)
    meta.ImplementationClassUID = UID(_uid(0, "implementation"))
    meta.ImplementationVersionName = "COHORT_1"
    data = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    sex, age = _STRATA[(number - 1) % len(_STRATA)]
    x, y, z = (step / 10 for step in volume.scanner.spacing)
    elements: dict[str, object] = {
        "SpecificCharacterSet": "ISO_IR 192",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "SOPClassUID": _CT_IMAGE_STORAGE,
        "SOPInstanceUID": instance,
        "StudyDate": "20200102",
        "StudyTime": "101500",
        "Modality": "CT",
        "Manufacturer": volume.scanner.manufacturer,
        "ReferringPhysicianName": "",
        "PatientBirthDate": "",
        "PatientSex": sex,
        "PatientAge": age,
        "SliceThickness": f"{z:.1f}",
        "KVP": "120",
        "StudyInstanceUID": _uid(seed, f"{folder} study"),
        "SeriesInstanceUID": _uid(seed, f"{folder} series"),
        "FrameOfReferenceUID": _uid(seed, f"{folder} frame"),
        "PositionReferenceIndicator": "",
        "StudyID": str(number),
        "SeriesNumber": number,
        "AcquisitionNumber": 1,
        "InstanceNumber": index + 1,
        "ImagePositionPatient": ["0.0", "0.0", f"{index * z:.1f}"],
        "ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": SHAPE[1],
        "Columns": SHAPE[0],
        "PixelSpacing": [f"{y:.1f}", f"{x:.1f}"],
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 1,
        "RescaleIntercept": "0",
        "RescaleSlope": "1",
        "RescaleType": "HU",
    }
    for keyword, value in elements.items():
        setattr(data, keyword, value)
    data.PixelData = np.ascontiguousarray(volume.voxels[:, :, index].T.astype("<i2")).tobytes()
    data["PixelData"].VR = "OW"
    return data


def _uid(seed: int, name: str) -> str:
    """A UID under 2.25 (PS3.5 B.2) derived from the seed."""
    digest = hashlib.sha256(f"pratique cohort uid {seed} {name}".encode()).digest()
    return f"2.25.{int.from_bytes(digest[:15], 'big')}"
