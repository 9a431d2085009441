#!/usr/bin/env python3
"""Holds every dependency against deny.toml: licences, bans and sources.

Stands in for `cargo deny check licenses bans sources`, which takes longer to compile than the project
to test. It reads the same lists: licenses.allow, bans.deny and sources.allow-registry/allow-git.
Anything in those tables that it does not understand is an error, never passed over.
"""

import json
import pathlib
import re
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
UNDERSTOOD = {
    "graph": {"all-features", "targets"},
    "licenses": {"allow", "confidence-threshold"},
    "bans": {"multiple-versions", "wildcards", "deny"},
    "sources": {"unknown-registry", "unknown-git", "allow-registry", "allow-git"},
}
# What this script does in any case; another value would need cargo deny.
FIXED = {
    ("graph", "all-features"): True,
    ("bans", "multiple-versions"): "allow",
    ("bans", "wildcards"): "allow",
    ("sources", "unknown-registry"): "deny",
    ("sources", "unknown-git"): "deny",
}


def read_rules():
    rules = tomllib.loads((ROOT / "deny.toml").read_text())
    for table, keys in rules.items():
        unknown = set(keys) - UNDERSTOOD.get(table, set())
        if unknown:
            sys.exit(f"deny.toml: [{table}] has {sorted(unknown)}, which .ci/licences.py does not understand")
    for (table, key), value in FIXED.items():
        if rules.get(table, {}).get(key) != value:
            sys.exit(f"deny.toml: [{table}] {key} must be {value!r}, or .ci/licences.py must learn it")
    return rules


def metadata(targets):
    """Every package that a build for one of the targets takes in, by any feature."""
    command = ["cargo", "metadata", "--locked", "--all-features", "--format-version", "1"]
    command += [argument for target in targets for argument in ("--filter-platform", target)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE)
    if done.returncode != 0:
        sys.exit(f"`{' '.join(command)}` failed")
    return json.loads(done.stdout)


def is_allowed(expression, allowed):
    """Whether the terms of an SPDX expression can be met with allowed licences alone."""
    tokens = re.findall(r"[()]|[^\s()]+", expression.replace("/", " OR "))
    at = 0

    def peek():
        return tokens[at] if at < len(tokens) else None

    def take():
        nonlocal at
        at += 1
        return tokens[at - 1]

    def one():
        if peek() == "(":
            take()
            result = either()
            if peek() != ")":
                raise ValueError(expression)
            take()
            return result
        if peek() in (None, ")", "AND", "OR", "WITH"):
            raise ValueError(expression)
        name = take()
        if peek() == "WITH":
            take()
            name = f"{name} WITH {take()}"
        return name in allowed

    def both():
        result = one()
        while peek() == "AND":
            take()
            result = one() and result
        return result

    def either():
        result = both()
        while peek() == "OR":
            take()
            result = both() or result
        return result

    result = either()
    if peek() is not None:
        raise ValueError(expression)
    return result


def version(text):
    """A version's numbers; a pre-release counts as the version before it is out."""
    core, _, pre = text.split("+")[0].partition("-")
    numbers = [int(part) for part in core.split(".")]
    return (*numbers, *[0] * (3 - len(numbers)), 0 if pre else 1)


def is_banned(package, spec):
    name, _, requirement = spec.partition("@")
    if package["name"] != name:
        return False
    if not requirement:
        return True
    match = re.fullmatch(r"<(\d+(?:\.\d+){0,2})", requirement)
    if not match:
        sys.exit(f"deny.toml: `{spec}`: .ci/licences.py understands `name` and `name@<version` only")
    return version(package["version"]) < version(match[1])


def wrongs(package, rules):
    """Everything that is wrong with one package, as text."""
    expression = package["license"]
    if not expression:
        yield "names no licence"
    else:
        try:
            if not is_allowed(expression, set(rules["licenses"]["allow"])):
                yield f"its licence is not allowed: {expression}"
        except ValueError:
            yield f"its licence cannot be read: {expression}"
    for ban in rules["bans"]["deny"]:
        if is_banned(package, ban["crate"]):
            yield f"banned: {ban['reason']}"
    source = package["source"]
    sources = rules["sources"]
    allowed = [f"registry+{url}" for url in sources["allow-registry"]]
    allowed += [f"git+{url}" for url in sources["allow-git"]]
    if source is None:
        # A path: fine within the project alone.
        if ROOT not in pathlib.Path(package["manifest_path"]).resolve().parents:
            yield f"comes from outside of the project: {package['manifest_path']}"
    elif not any(re.split(r"[?#]", source)[0] == one for one in allowed):
        yield f"comes from {source}"


def main():
    rules = read_rules()
    packages = metadata(rules["graph"]["targets"])["packages"]
    found = [(package, wrong) for package in packages for wrong in wrongs(package, rules)]
    for package, wrong in found:
        print(f"{package['name']} {package['version']}: {wrong}", file=sys.stderr)
    if found:
        sys.exit(1)
    print(f"licences, bans and sources of {len(packages)} packages are as deny.toml says")


if __name__ == "__main__":
    main()
