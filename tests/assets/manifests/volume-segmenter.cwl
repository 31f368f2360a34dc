cwlVersion: v1.2
class: FEMTask

id: volume-segmenter
label: Volume segmenter
doc: >-
  Segments lesions in NIfTI volumes, chosen by a CSV file, by series or by wildcard.

requirements:
  - class: DockerRequirement
    dockerPull: registry.example.org/tools/volume-segmenter@sha256:1111111111111111111111111111111111111111111111111111111111111111
  - class: EnvVarRequirement
    envDef:
      - envName: MODEL_DIR
        envValue: /opt/model
      - envName: RESULTS
        envValue: $(runtime.outdir)/results
  - class: ResourceRequirement
    coresMin: 2
    ramMin: 1024
  - class: CUDARequirement
    cudaVersionMin: "11.8"
    cudaComputeCapability: "6.0"
    cudaDeviceCountMin: 1
  - class: InitialWorkDirRequirement
    listing:
      - entryname: config.json
        entry: '{"threads": $(runtime.cores)}'
        writable: false

baseCommand: [python, /app/segment.py]

arguments:
  - --verbose
  - prefix: --scratch
    valueFrom: $(runtime.tmpdir)/scratch
    position: 30

inputs:
  - id: volumes
    type: Directory
    required: true
    default: null
    inputBinding: {position: 1, prefix: --input, separate: true}

  - id: output_dir
    type: string
    doc: Set by the platform.
    required: true
    default: /output
    hidden: true
    inputBinding:
      position: 2
      prefix: --output
      separate: true
      valueFrom: $(runtime.outdir)

  - id: mode
    type: string
    required: false
    default: nifti-only
    constraints: {enum: [dicom-seg, nifti-only]}
    inputBinding: {position: 3, prefix: --mode}

  - id: threshold
    type: float
    required: false
    default: 0.5
    constraints: {min: 0, max: 1}
    inputBinding: {position: 4, prefix: --threshold, separate: false}

  - id: series
    type: string[]
    required: false
    default: []
    constraints: {pattern: "[A-Za-z0-9_.-]+"}
    inputBinding: {position: 5, prefix: --series}

  - id: labels
    type: int[]
    required: false
    inputBinding: {position: 6, prefix: --labels, itemSeparator: ","}

  - id: atlas
    type: File
    required: false
    inputBinding: {position: 7, prefix: --atlas-name, valueFrom: $(self.basename)}

  - id: keep
    type: boolean
    required: false
    default: true
    inputBinding: {position: 8, prefix: --keep, separate: true}

  - id: summary_name
    type: string
    required: false
    default: summary.json
    inputBinding: {position: 9, prefix: --summary, valueFrom: $(runtime.outdir)/$(self)}

  - id: log_name
    type: string
    default: run.log
    inputBinding: {}

outputs:
  - id: masks
    type: Directory
    outputBinding: {glob: "$(runtime.outdir)/masks"}
  - id: summary
    type: File
    outputBinding: {glob: $(inputs.summary_name)}
  - id: log
    type: File
    outputBinding: {glob: $(inputs.log_name)}

expectedExitCode: 0

metadata:
  author: Example Hospital
  version: "2.1.1"
  orchestrator:
    network: bridge
    additional_metadata:
      notes: Needs a GPU.
