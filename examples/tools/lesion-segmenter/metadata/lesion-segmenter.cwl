cwlVersion: v1.2
class: FEMTask
id: lesion-segmenter
label: Lesion segmenter
doc: Segments bright lesions in CT volumes (NIfTI) and reports their volumes.
requirements:
  - class: DockerRequirement
    dockerPull: registry.example.org/toolbox/lesion-segmenter@@DIGEST@
  - class: ResourceRequirement
    coresMin: 1
    ramMin: 1024
baseCommand: []
inputs:
  - id: volumes
    type: Directory
    required: true
    source: user
    doc: Directory of CT volumes, .nii or .nii.gz
    inputBinding: {position: 1, prefix: -i}
  - id: output_dir
    type: string
    required: true
    hidden: true
    inputBinding: {position: 2, prefix: -o, valueFrom: $(runtime.outdir)}
  - id: sensitivity
    type: float
    required: false
    default: 3.0
    constraints: {min: 1.0, max: 10.0}
    inputBinding: {position: 3, prefix: --sensitivity}
  - id: smallest
    type: int
    required: false
    default: 20
    constraints: {min: 1, max: 100000}
    inputBinding: {position: 4, prefix: --smallest}
outputs:
  - id: masks
    type: File
    outputBinding: {glob: $(runtime.outdir)/*_mask.nii.gz}
  - id: volumes_table
    type: File
    outputBinding: {glob: $(runtime.outdir)/volumes.csv}
expectedExitCode: 0
metadata:
  author: Example Imaging Group
  version: 1.0.0
  orchestrator: {network: bridge}
