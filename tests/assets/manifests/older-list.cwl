# the older form: a list with input_name, the image alone, no expectedExitCode, a version that is a number
cwlVersion: v1.2
class: FEMTask
id: counter
label: Counter
doc: Counts rows.
requirements:
  - class: DockerRequirement
    dockerPull: registry.example.org/tools/counter:latest
inputs:
  - input_name: tables
    type: {type: array, items: File}
    inputBinding: {position: 1, prefix: -i}
  - input_name: report_dir
    type: string
    default: $(runtime.outdir)
    inputBinding: {position: 2, prefix: -o}
outputs:
  - output_name: report
    type: File
    outputBinding: {glob: report.json}
baseCommand: [python, main.py]
metadata:
  author: A. Provider
  version: 2.0
  orchestrator: {network: host}
