#!/bin/sh
# The path is the one that manifests name; what happens is in zkd itself, where it is tested.
exec zkd docker-entry -- "$@"
