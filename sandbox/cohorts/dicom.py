"""Synthetic DICOM series of CT and MR phantoms: several scanners, patients and studies, canaries wherever they fit.

Each file has the attributes that its IOD demands (PS3.3 A.3 CT Image, A.4 MR Image). Canaries are in the patient's and
the study's identifiers, in free text, in the vendor's private elements and in the pixels (as codes, and as a bar code
that is burned into every picture).
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sandbox.canaries import CanaryKind, CanaryMint
from sandbox.canaries.tokens import SHORT_TOKEN_LENGTH
from sandbox.cohorts.draw import Draw
from sandbox.cohorts.model import CohortFiles, CohortRequest
from sandbox.cohorts.nifti import as_nifti
from sandbox.cohorts.phantom import Modality, Plane, Scanner, Volume, make_phantom, plant_pixels, scanner_for, spacing

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom.dataset import Dataset, FileDataset

DEFAULT_SERIES = 4
STUDIES_OF_A_PATIENT = 2
PIXELS, SLICES = 48, 12

IMAGE_STORAGE = {Modality.CT: "1.2.840.10008.5.1.4.1.1.2", Modality.MR: "1.2.840.10008.5.1.4.1.1.4"}
_EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
_STRATA = (("F", "034Y"), ("M", "058Y"), ("F", "071Y"), ("M", "029Y"), ("F", "049Y"), ("M", "080Y"))
_DATES = ("20200102", "20210719")
_BODY = {Modality.CT: "ABDOMEN", Modality.MR: "PELVIS"}
_WINDOW = {Modality.CT: ("40", "400"), Modality.MR: ("400", "900")}


@dataclass(frozen=True)
class Series:
    """One series: its place in the cohort, its phantom, and the pictures [slice, row, column] as stored."""

    seed: int
    folder: str
    number: int
    volume: Volume
    pictures: NDArray[Any]

    @property
    def scanner(self) -> Scanner:
        """The make that took it."""
        return self.volume.scanner

    @property
    def patient(self) -> int:
        """The patient's number, from 0; each has `STUDIES_OF_A_PATIENT` studies of one series."""
        return (self.number - 1) // STUDIES_OF_A_PATIENT

    def uid(self, what: str) -> str:
        """A UID under 2.25 (PS3.5 B.2) derived from seed and series."""
        return uid(self.seed, f"{self.folder} {what}")


def make_dicom(request: CohortRequest) -> CohortFiles:
    """`request.size` series `series-NNN/slice-NNNN.dcm`; the truth of each is its lesion mask, NIfTI and DICOM SEG."""
    from sandbox.cohorts.segmentation import as_segmentation

    files = CohortFiles()
    for number in range(1, (request.size or DEFAULT_SERIES) + 1):
        series, slices = make_series(request, number, files)
        for index, data in enumerate(slices):
            files.inputs[f"{series.folder}/slice-{index + 1:04d}.dcm"] = as_bytes(data)
        # DICOM's axes run to the left and to the back (PS3.3 C.7.6.2.1.1), NIfTI's to the right and to the front.
        mask = as_nifti(series.volume.mask, series.scanner, (-1, -1, 1))
        files.truth[series.folder] = (f"{series.folder}.nii.gz", mask)
        files.truth[f"{series.folder}#segmentation"] = (f"{series.folder}.seg.dcm", as_segmentation(series, slices))
    return files


def make_series(request: CohortRequest, number: int, files: CohortFiles) -> tuple[Series, list[FileDataset]]:
    """Series `number` (from 1) and its images; the canaries in it are kept in `files`."""
    folder = f"series-{number:03d}"
    mint = CanaryMint(request.seed)
    scanner = scanner_for(request.modality, request.seed, number)
    volume = make_phantom(Draw(request.seed, folder), scanner, _shape(scanner.plane))
    pictures = sliced((volume.voxels - scanner.intercept) // scanner.slope, scanner.plane)
    pixels = mint.token(CanaryKind.PIXEL, f"{folder}#pixels")
    files.plant(pixels)
    plant_pixels(pictures, pixels, scanner)
    series = Series(request.seed, folder, number, volume, pictures)
    marks = _marks(series, mint, files)
    private = files.plant(mint.token(CanaryKind.HEADER, f"{folder}#private tag", length=SHORT_TOKEN_LENGTH))
    slices = []
    for index in range(len(pictures)):
        data = _image(series, index)
        for keyword, value in marks.items():
            setattr(data, keyword, value)
        _add_private(data, scanner, private)
        slices.append(data)
    return series, slices


def as_bytes(data: Dataset) -> bytes:
    """The data set as a DICOM file (PS3.10) with preamble and file meta information."""
    import pydicom

    stream = io.BytesIO()
    pydicom.dcmwrite(stream, data, enforce_file_format=True)
    return stream.getvalue()


def new_file(sop_class: str, instance: str) -> FileDataset:
    """An empty data set with its file meta information."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(sop_class)
    meta.MediaStorageSOPInstanceUID = UID(instance)
    meta.TransferSyntaxUID = UID(_EXPLICIT_LITTLE_ENDIAN)
    meta.ImplementationClassUID = UID(uid(0, "implementation"))
    meta.ImplementationVersionName = "PACS_1"
    data = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    data.SOPClassUID, data.SOPInstanceUID = sop_class, instance
    data.SpecificCharacterSet = "ISO_IR 192"
    return data


def sliced(voxels: NDArray[Any], plane: Plane) -> NDArray[Any]:
    """The volume [x, y, z] as pictures [slice, row, column], seen as is usual: rows from the front, or from the top."""
    import numpy as np

    if plane is Plane.AXIAL:
        return np.ascontiguousarray(voxels.transpose(2, 1, 0))
    if plane is Plane.SAGITTAL:
        return np.ascontiguousarray(voxels.transpose(0, 2, 1)[:, ::-1, :])
    return np.ascontiguousarray(voxels.transpose(1, 2, 0)[:, ::-1, :])


def geometry(scanner: Scanner, index: int) -> tuple[list[str], list[str]]:
    """Orientation and position (mm) of slice `index` in the patient (PS3.3 C.7.6.2.1.1)."""
    across = f"{index * spacing(scanner)[_across(scanner.plane)] / 10:.1f}"
    top = f"{(PIXELS - 1) * spacing(scanner)[2] / 10:.1f}"
    if scanner.plane is Plane.AXIAL:
        return ["1", "0", "0", "0", "1", "0"], ["0.0", "0.0", across]
    if scanner.plane is Plane.SAGITTAL:
        return ["0", "1", "0", "0", "0", "-1"], [across, "0.0", top]
    return ["1", "0", "0", "0", "0", "-1"], ["0.0", across, top]


def uid(seed: int, name: str) -> str:
    """A UID under 2.25 (PS3.5 B.2) derived from the seed."""
    digest = hashlib.sha256(f"pratique cohort uid {seed} {name}".encode()).digest()
    return f"2.25.{int.from_bytes(digest[:15], 'big')}"


def _across(plane: Plane) -> int:
    return {Plane.SAGITTAL: 0, Plane.CORONAL: 1, Plane.AXIAL: 2}[plane]


def _shape(plane: Plane) -> tuple[int, int, int]:
    x, y, z = (SLICES if axis == _across(plane) else PIXELS for axis in range(3))
    return x, y, z


def _marks(series: Series, mint: CanaryMint, files: CohortFiles) -> dict[str, str]:
    """The patient's and the study's identifiers and texts; studies of one patient share the patient's."""
    first = series.patient * STUDIES_OF_A_PATIENT + 1

    def of(folder: str, kind: CanaryKind, place: str, length: int = 20) -> str:
        canary = mint.token(kind, f"{folder}#{place}", length=length)
        return canary.value if canary in files.canaries else files.plant(canary)

    person, study = f"series-{first:03d}", series.folder
    family, given = (of(person, CanaryKind.IDENTIFIER, f"{name} name") for name in ("family", "given"))
    return {
        "PatientName": f"{family}^{given}",
        "PatientID": of(person, CanaryKind.IDENTIFIER, "PatientID"),
        "OtherPatientNames": f"Núñez^{of(person, CanaryKind.IDENTIFIER, 'other name')}",
        "AccessionNumber": of(study, CanaryKind.IDENTIFIER, "AccessionNumber", SHORT_TOKEN_LENGTH),
        "PatientComments": f"Referred by {of(person, CanaryKind.TEXT, 'PatientComments')}",
        "StudyDescription": f"Follow-up, see {of(study, CanaryKind.TEXT, 'StudyDescription')}",
    }


def _add_private(data: FileDataset, scanner: Scanner, marker: str) -> None:
    for block in scanner.private:
        place = data.private_block(block.group, block.creator, create=True)
        for element, kind, value in block.elements:
            place.add_new(element, kind, marker if value is None else value)


def _image(series: Series, index: int) -> FileDataset:
    """One image: patient, study, series, equipment, plane and pixels, and what its modality adds."""
    scanner, patient = series.scanner, series.patient
    data = new_file(IMAGE_STORAGE[scanner.modality], series.uid(f"slice {index}"))
    sex, age = _STRATA[patient % len(_STRATA)]
    date = _DATES[(series.number - 1) % len(_DATES)]
    elements: dict[str, object] = {
        "StudyDate": date,
        "SeriesDate": date,
        "ContentDate": date,
        "StudyTime": "101500",
        "SeriesTime": "102000",
        "ContentTime": f"1021{index:02d}",
        "Modality": str(scanner.modality),
        "Manufacturer": scanner.manufacturer,
        "ManufacturerModelName": scanner.model,
        "SoftwareVersions": scanner.software,
        "DeviceSerialNumber": str(40_000 + series.number),
        "InstitutionName": "Hospital Clínico",
        "ReferringPhysicianName": "",
        "SeriesDescription": f"{_BODY[scanner.modality].title()} {scanner.plane}",
        "BodyPartExamined": _BODY[scanner.modality],
        "PatientBirthDate": "",
        "PatientSex": sex,
        "PatientAge": age,
        "PatientPosition": "HFS",
        "StudyInstanceUID": series.uid("study"),
        "SeriesInstanceUID": series.uid("series"),
        "StudyID": str(series.number),
        "SeriesNumber": 2,
        "AcquisitionNumber": 1,
        "InstanceNumber": index + 1,
        "BurnedInAnnotation": "YES",
        "WindowCenter": _WINDOW[scanner.modality][0],
        "WindowWidth": _WINDOW[scanner.modality][1],
        "RescaleIntercept": str(scanner.intercept),
        "RescaleSlope": str(scanner.slope),
        "RescaleType": "HU" if scanner.modality is Modality.CT else "US",
    }
    elements |= _of_plane(series, index)
    elements |= _of_ct(scanner) if scanner.modality is Modality.CT else _of_mr(scanner)
    for keyword, value in elements.items():
        setattr(data, keyword, value)
    _set_pixels(data, series, series.pictures[index])
    return data


def _of_plane(series: Series, index: int) -> dict[str, object]:
    """Where the picture lies in the patient."""
    orientation, position = geometry(series.scanner, index)
    across, down, thickness = (f"{step / 10:.1f}" for step in series.scanner.spacing)
    return {
        "FrameOfReferenceUID": series.uid("frame"),
        "PositionReferenceIndicator": "",
        "SliceThickness": thickness,
        "SpacingBetweenSlices": thickness,
        "ImagePositionPatient": position,
        "ImageOrientationPatient": orientation,
        "PixelSpacing": [down, across],
    }


def _of_ct(scanner: Scanner) -> dict[str, object]:
    return {
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "KVP": scanner.strength,
        "ConvolutionKernel": "STANDARD",
        "ExposureTime": 500,
        "XRayTubeCurrent": 200,
    }


def _of_mr(scanner: Scanner) -> dict[str, object]:
    return {
        "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"],
        "ScanningSequence": "SE",
        "SequenceVariant": "SK",
        "ScanOptions": "",
        "MRAcquisitionType": "2D",
        "RepetitionTime": "4000",
        "EchoTime": "90",
        "EchoTrainLength": 15,
        "MagneticFieldStrength": scanner.strength,
        "ImagingFrequency": f"{float(scanner.strength) * 42.577:.3f}",
    }


def _set_pixels(data: FileDataset, series: Series, picture: NDArray[Any]) -> None:
    scanner = series.scanner
    data.SamplesPerPixel = 1
    data.PhotometricInterpretation = "MONOCHROME1" if scanner.inverted else "MONOCHROME2"
    data.Rows, data.Columns = picture.shape
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, scanner.bits, scanner.bits - 1
    data.PixelRepresentation = int(scanner.signed)
    data.PixelData = picture.astype("<i2" if scanner.signed else "<u2").tobytes()
    data["PixelData"].VR = "OW"
