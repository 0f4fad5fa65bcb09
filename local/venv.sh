#!/usr/bin/env bash
# Brings .venv to what a lock says: venv.sh LOCK [PYTHON]
#
# requirements-up.lock makes .venv anew; requirements-dev.lock adds to it, and holds the same
# versions. A copy of each installed lock lies in .venv and tells what is there. Without PYTHON the
# newest-tested interpreter that runs is taken.
set -euo pipefail

lock=$1 wanted=${2:-}
venv=.venv
python=$venv/bin/python
base=requirements-up.lock

find_python() {
	# pyenv leaves shims on the PATH that fail when called, so a candidate must run, not just exist.
	local tried=(python3.11 python3.12 python3.13 python3)
	if [ -n "$wanted" ]; then tried=("$wanted"); fi
	for found in "${tried[@]}"; do
		"$found" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
			>/dev/null 2>&1 && return
	done
	{
		echo "No usable Python. Eventline needs Python 3.11 or newer with its venv module"
		echo "(Debian and Ubuntu: apt-get install python3-venv)."
		echo "Tried: ${tried[*]}. Found: $(python3 --version 2>&1 || true)"
		echo "Name one with: make PYTHON=/path/to/python3.11 up"
	} >&2
	exit 1
}

make_venv() {
	find_python
	echo "==> $venv: $("$found" --version)" >&2
	"$found" -m venv --clear --without-pip $venv
	# The interpreter's own pip saves the seconds that installing another takes.
	if "$found" -m pip --python $python --version >/dev/null 2>&1; then
		pip=("$found" -m pip --python $python)
	else
		$python -m ensurepip >/dev/null
	fi
}

show_progress() {
	awk -v tty="$1" -v all="$2" -v out=$venv/install.log '
		{ print > out }
		/^(Collecting|Requirement already satisfied:) / { seen++
			if (tty) printf "\r\033[K    %d of %d: %s", seen, all, $1 == "Collecting" ? $2 : $4
			else if (seen % 20 == 0) printf "    %d of %d\n", seen, all
			fflush() }
		/^Installing collected/ { printf (tty ? "\r\033[K" : "") "    installing" (tty ? "" : "\n")
			fflush() }
		/^ERROR|^error|THESE PACKAGES/ { print (tty ? "\n" : "") $0 }
		END { if (tty) printf "\r\033[K" }' >&2
}

works() { [ -x $python ] && $python -c '' 2>/dev/null; }

# A checkout that only touches a lock does not install anything.
if works && cmp -s "$lock" "$venv/$lock"; then
	touch "$venv/$lock"
	exit
fi
pip=($python -m pip)
# What is outdated is made anew, so that nothing stays which no lock names any more.
if ! works || [ "$lock" = $base ] || [ -e "$venv/$lock" ]; then make_venv; fi
count=$(grep -c == "$lock")
echo "==> $venv: $count packages from $lock" >&2
if [ -t 2 ]; then tty=1; else tty=0; fi
"${pip[@]}" --disable-pip-version-check install --require-hashes --no-compile --no-input \
	--progress-bar off -r "$lock" 2>&1 | show_progress $tty "$count" ||
	{ echo "    the whole output is in $venv/install.log" >&2; exit 1; }
echo "    compiling" >&2
# With all cores, where pip uses one. Some packages bring files that are for other Pythons.
$python -m compileall -qq -j 0 $venv/lib >/dev/null || true
cp $base $venv
cp "$lock" $venv
echo "==> $venv is ready ($SECONDS s)" >&2
