cwlVersion: v1.2
class: FEMTask
id: risk-classifier-overfit
label: Risk classifier (deep forest)
doc: Probability of progression within a year from clinical and radiomics features, by a forest of deep trees.
requirements:
  - class: DockerRequirement
    dockerPull: registry.example.org/toolbox/risk-classifier-overfit@@DIGEST@
  - class: ResourceRequirement
    coresMin: 1
    ramMin: 512
baseCommand: []
inputs:
  - id: table
    type: File
    required: true
    source: user
    doc: CSV with one row per patient (columns as in the example input)
    inputBinding: {position: 1, prefix: -i}
  - id: output_dir
    type: string
    required: true
    hidden: true
    inputBinding: {position: 2, prefix: -o, valueFrom: $(runtime.outdir)}
  - id: threshold
    type: float
    required: false
    default: 0.5
    constraints: {min: 0.0, max: 1.0}
    doc: Probability from which a patient counts as high risk
    inputBinding: {position: 3, prefix: --threshold}
outputs:
  - id: predictions
    type: File
    outputBinding: {glob: $(runtime.outdir)/predictions.csv}
expectedExitCode: 0
metadata:
  author: Example Hospital
  version: 1.0.0
  orchestrator: {network: bridge}
