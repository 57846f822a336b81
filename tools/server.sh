#!/usr/bin/env bash
# An MLflow server with a database (PostgreSQL) and an artifact store, for several users or machines; see docs/mlflow.md.
#
#   tools/server.sh        (make server) runs until Ctrl-C; what was logged stays in GQBENCH_SERVER_HOME
#
# Environment:
#   HOST, PORT              where it listens; 127.0.0.1 and 5000
#   GQBENCH_SERVER_HOME     database and artifacts; ~/.local/share/gqbench/mlflow, for root /var/lib/gqbench/mlflow
#   MLFLOW_BACKEND_STORE_URI, MLFLOW_ARTIFACTS_DESTINATION   a database or an artifact store of your own instead
#   MLFLOW_SERVER_ALLOWED_HOSTS   names by which browsers and clients may call it, where HOST is no loopback address
#
# There is no password: the database listens on a Unix socket in a folder that only its owner can enter.
set -euo pipefail
host=${HOST:-127.0.0.1}
port=${PORT:-5000}
owner=()
home=${XDG_DATA_HOME:-$HOME/.local/share}/gqbench/mlflow
if [ "$(id -u)" = 0 ]; then
    # PostgreSQL refuses to run as root; Debian's package brings the user postgres.
    owner=(runuser -u postgres --)
    home=/var/lib/gqbench/mlflow
fi
home=${GQBENCH_SERVER_HOME:-$home}
socket=$home/socket

fail() {
    echo "error: $*" >&2
    exit 1
}

find_postgres() {
    command -v pg_ctl && return
    local found=(/usr/lib/postgresql/*/bin/pg_ctl)
    [ -x "${found[-1]}" ] || fail "no PostgreSQL found; install it (Debian: apt-get install postgresql), or name a database: MLFLOW_BACKEND_STORE_URI"
    echo "${found[-1]}"
}

start_database() {
    # The kernel takes 107 bytes for a socket's path, of which PostgreSQL's own name uses 15.
    [ ${#socket} -le 92 ] || fail "the path $home is too long for a Unix socket; name a shorter folder: GQBENCH_SERVER_HOME=..."
    local log=$home/postgres.log
    pg_ctl=$(find_postgres)
    [ ${#owner[@]} = 0 ] || id postgres >/dev/null 2>&1 || fail "PostgreSQL does not run as root and there is no user postgres; run make server as an ordinary user"
    if [ ! -e "$home/database/PG_VERSION" ]; then
        echo "Creating the database in $home ..." >&2
        mkdir -p "$home/database" "$socket"
        chmod 700 "$home/database" "$socket"
        [ ${#owner[@]} = 0 ] || chown postgres "$home" "$home/database" "$socket"
        # In the folder of the socket, which nobody else can enter, everybody is trusted; elsewhere it does not listen.
        (cd / && "${owner[@]}" "$pg_ctl" init --silent --pgdata "$home/database" \
            -o "--username=mlflow --encoding=UTF8 --locale=C.UTF-8 --auth-local=trust --auth-host=reject") >/dev/null ||
            fail "the database could not be created in $home/database"
    fi
    (cd / && "${owner[@]}" "$pg_ctl" status --pgdata "$home/database" >/dev/null) &&
        fail "the database in $home is in use: another make server runs; end it, or give GQBENCH_SERVER_HOME another folder"
    (cd / && "${owner[@]}" "$pg_ctl" start --silent --wait --timeout 300 --pgdata "$home/database" --log "$log" \
        -o "-c listen_addresses='' -c unix_socket_directories='$socket' -c unix_socket_permissions=0700") ||
        fail "PostgreSQL did not start; its log is $log"
    stop_database() { (cd / && "${owner[@]}" "$pg_ctl" stop --silent --mode fast --pgdata "$home/database"); }
    python - "$socket" <<'PYTHON'
import sys

import psycopg

with psycopg.connect(host=sys.argv[1], user="mlflow", dbname="postgres", autocommit=True) as connection:
    if connection.execute("SELECT 1 FROM pg_database WHERE datname = 'mlflow'").fetchone() is None:
        connection.execute("CREATE DATABASE mlflow")
PYTHON
    export MLFLOW_BACKEND_STORE_URI="postgresql://mlflow@/mlflow?host=$socket"
}

stop_database() { :; }
server=
finish() {
    trap '' INT TERM
    [ -z "$server" ] || { kill "$server" 2>/dev/null && wait "$server" || true; }
    stop_database
}
trap finish EXIT
trap 'exit 0' INT TERM

python -c 'import psycopg' 2>/dev/null || fail "the packages of requirements-server.txt are missing; make server installs them"
mkdir -p "$home/artifacts" || fail "the folder $home cannot be made; name another one: GQBENCH_SERVER_HOME=..."
[ -n "${MLFLOW_BACKEND_STORE_URI:-}" ] || start_database
export MLFLOW_ARTIFACTS_DESTINATION=${MLFLOW_ARTIFACTS_DESTINATION:-$home/artifacts}
export MLFLOW_DISABLE_TELEMETRY=true
# Periodic jobs that judge the answers of language models: nothing of ours.
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=${MLFLOW_SERVER_ENABLE_JOB_EXECUTION:-false}
case "$host" in
    127.* | localhost | ::1) ;;
    *) echo "warning: MLflow asks for no password: whoever reaches $host:$port can read, change and delete all runs" >&2 ;;
esac
echo "MLflow server on http://$host:$port, database and artifacts in $home (Ctrl-C ends it). In the shell of your runs:"
echo "  export MLFLOW_TRACKING_URI=http://$host:$port"
# uvicorn ends a worker that does not answer within 5 s, which on a busy machine is one that still starts.
python -m mlflow server --host "$host" --port "$port" --workers 2 --uvicorn-opts "--timeout-worker-healthcheck 120" &
server=$!
wait "$server"
