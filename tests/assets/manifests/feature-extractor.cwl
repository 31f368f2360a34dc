cwlVersion: v1.2
class: CommandLineTool
$namespaces:
  cwltool: http://commonwl.org/cwltool#
  s: https://schema.org/
id: feature-extractor
label: Feature extractor
doc:
  - Extracts features from a volume.
  - One row a volume.
s:author: Example Hospital
s:softwareVersion: "0.3.0"
requirements:
  DockerRequirement:
    dockerPull: registry.example.org/tools/feature-extractor:0.3.0
  EnvVarRequirement:
    envDef:
      LANG: C.UTF-8
  ResourceRequirement:
    coresMin: 1
    ramMin: 512
  NetworkAccess:
    networkAccess: false
hints:
  cwltool:CUDARequirement:
    cudaVersionMin: "11.8"
    cudaComputeCapability: "6.0"
    cudaDeviceCountMin: 1
  SoftwareRequirement:
    packages:
      pyradiomics: {version: ["3.1.0"]}
baseCommand: extract
arguments:
  - --quiet
  - prefix: --out
    valueFrom: $(runtime.outdir)/$(inputs.volume.nameroot).csv
    position: 9
inputs:
  volume:
    type: File
    inputBinding: {position: 1}
  bins:
    type: int?
    inputBinding: {prefix: --bins=, separate: false, position: 2}
  families:
    type: string[]
    default: [shape, texture]
    inputBinding: {prefix: --family, position: 3}
  filters:
    type:
      type: array
      items: string
      inputBinding: {prefix: -f}
    default: []
    inputBinding: {position: 4}
  resample:
    type:
      type: enum
      symbols: [none, linear]
    default: none
    inputBinding: {prefix: --resample, position: 5}
  wavelet:
    type: boolean
    default: false
    inputBinding: {prefix: --wavelet}
outputs:
  features:
    type: File
    outputBinding:
      glob: $(inputs.volume.nameroot).csv
  pictures:
    type: File[]
    outputBinding:
      glob: ["*.png", "figures/*.png"]
successCodes: [0, 3]
