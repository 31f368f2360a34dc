cwlVersion: v1.2
class: FEMTask
id: combat-harmonizer
label: ComBat harmonizer
doc: Removes batch effects between sites from a table of radiomics features.
requirements:
  - class: DockerRequirement
    dockerPull: registry.example.org/toolbox/combat-harmonizer@@DIGEST@
  - class: ResourceRequirement
    coresMin: 1
    ramMin: 1024
baseCommand: []
inputs:
  features:
    type: File
    required: true
    source: user
    doc: CSV with one row per patient, one column per radiomics feature
    inputBinding: {position: 1}
  output_dir:
    type: Directory
    required: true
    hidden: true
    inputBinding: {position: 2}
  batch_column:
    type: string
    required: false
    default: site
    constraints: {pattern: "[A-Za-z_][A-Za-z0-9_]*"}
    inputBinding: {position: 3, prefix: --batch-column, separate: false}
  keep:
    type: string[]
    required: false
    default: [patient_id]
    inputBinding: {position: 4, prefix: --keep}
outputs:
  harmonised:
    type: File
    outputBinding: {glob: $(inputs.output_dir)/harmonised.csv}
expectedExitCode: 0
metadata:
  author: Example Radiomics Group
  version: "2.1"
  orchestrator: {network: bridge}
