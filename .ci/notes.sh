#!/bin/bash
# Prints the notes of a release: the changelog's section of VERSION, else that of what is not released yet.
set -euo pipefail
changelog=$(dirname "$0")/../CHANGELOG.md
title=$(grep -m 1 -F "## [$1]" "$changelog" || echo "## Unreleased")
awk -v title="$title" '$0 == title { on = 1; next } /^## / { on = 0 } on' "$changelog"
