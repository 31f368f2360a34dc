cwlVersion: v1.2
class: FEMTask
id: outdated
label: Feature ratio
doc: Computes the ratio of two columns of a table of radiomics features.
requirements:
  - class: DockerRequirement
    dockerPull: registry.example.org/toolbox/outdated@@DIGEST@
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
  - id: ratios
    type: File
    outputBinding: {glob: $(runtime.outdir)/ratios.csv}
expectedExitCode: 0
metadata:
  author: Example Radiomics Group
  version: 0.3.0
  orchestrator: {network: bridge}
