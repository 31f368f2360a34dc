cwlVersion: v1.2
class: FEMTask

id: feature-harmonizer
label: Radiomics feature harmonizer
doc: Removes scanner effects from a table of radiomics features.

requirements:
  - class: DockerRequirement
    dockerPull: registry.example.org/tools/feature-harmonizer:1.5

inputs:
  input_dir:
    type: Directory
    doc: Directory with radiomics.csv and metadata.csv.
    required: true
    default: null
    hidden: false
    source: user
    inputBinding:
      position: 1

  output_dir:
    type: Directory
    doc: Where the results are written.
    required: true
    default: null
    hidden: false
    source: user
    inputBinding:
      position: 2

  by_model:
    type: boolean
    doc: Use the scanner model rather than its maker.
    required: false
    default: false
    hidden: false
    source: user
    inputBinding:
      position: 3
      prefix: -M

  parametric:
    type: boolean
    doc: Use the parametric estimate.
    required: true
    default: true
    inputBinding:
      position: 4
      prefix: -p

outputs:
  harmonized:
    type: File
    doc: Harmonised features.
    outputBinding:
      glob: $(inputs.output_dir_name)/harmonized.csv

  estimates:
    type: File
    outputBinding:
      glob: $(inputs.output_dir)/estimates.json

baseCommand: [] # the image's entrypoint runs the program

expectedExitCode: 0

metadata:
  author: A. Provider
  version: "1.5"
  orchestrator:
    network: overlay
