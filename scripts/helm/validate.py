"""Validates rendered manifests: those of Kubernetes against the schemas that kubernetes-validate brings, of its newest three versions
and strictly (no unknown field); custom resources against crds/KIND.json. Prints a line for each problem; YAML is read as Kubernetes
reads it (1.1). Usage: validate.py FOLDER_OF_CRDS FILE..."""

import functools
import json
import pathlib
import sys

import jsonschema
import yaml
from kubernetes_validate import utils

# Each validation reads the schemas of its version anew otherwise, which takes most of the time.
utils.schema_contents = functools.lru_cache(maxsize=None)(utils.schema_contents)
newest = [version for version in utils.all_versions()][-6:]
# A version appears twice, as local and as local-strict.
versions = sorted(set(newest), key=newest.index)[-3:]
crds = {path.stem: json.loads(path.read_text()) for path in pathlib.Path(sys.argv[1]).glob("*.json")}


def problems(document):
    kind, api = document.get("kind"), document.get("apiVersion", "")
    if kind in crds and crds[kind]["properties"]["apiVersion"]["const"] == api:
        for error in jsonschema.Draft202012Validator(crds[kind]).iter_errors(document):
            yield f"{'.'.join(map(str, error.path))}: {error.message}"
        return
    for version in versions:
        try:
            utils.validate(document, version, strict=True)
        except jsonschema.ValidationError as error:
            yield f"Kubernetes {version}: {'.'.join(map(str, error.path))}: {error.message}"
        except utils.SchemaNotFoundError as error:
            yield error.message


print("versions", *versions)
for file in sys.argv[2:]:
    for document in yaml.safe_load_all(pathlib.Path(file).read_text()):
        if document:
            print("document")
            for problem in problems(document):
                print(f"problem {pathlib.Path(file).name}: {document.get('kind')}/{document.get('metadata', {}).get('name')}: {problem}")
