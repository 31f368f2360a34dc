cwlVersion: v1.2
class: FEMTask
id: smuggler
label: Quality score
doc: Scores the quality of a table of radiomics features.
requirements:
  - class: DockerRequirement
    dockerPull: registry.example.org/toolbox/smuggler@@DIGEST@
  - class: ResourceRequirement
    coresMin: 1
    ramMin: 512
baseCommand: []
inputs:
  - id: features
    type: File
    required: true
    source: user
    inputBinding: {position: 1, prefix: -i}
  - id: output_dir
    type: string
    required: true
    hidden: true
    inputBinding: {position: 2, prefix: -o, valueFrom: $(runtime.outdir)}
outputs:
  - id: scores
    type: File
    outputBinding: {glob: $(runtime.outdir)/scores.csv}
expectedExitCode: 0
metadata:
  author: Example Analytics
  version: 1.0.0
  orchestrator: {network: bridge}
