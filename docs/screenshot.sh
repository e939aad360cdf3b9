#!/usr/bin/env bash
# Takes a screenshot of a page with headless Chromium (Debian's package chromium): docs/screenshot.sh PAGE.html OUT.png [WIDTH,HEIGHT]
set -euo pipefail
profile=$(mktemp -d)
trap 'rm -rf "$profile"' EXIT
chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --no-first-run --disable-background-networking \
  --disable-component-update --disable-sync --user-data-dir="$profile" --window-size="${3:-1100,2600}" \
  --screenshot="$(realpath -m "$2")" "file://$(realpath "$1")" 2>/dev/null
