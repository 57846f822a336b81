#!/usr/bin/env bash
# Serve the MLflow store that the stages write to (MLFLOW_TRACKING_URI is honoured) on 127.0.0.1.
set -euo pipefail
port=$1
store=${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db}
case "$store" in
    http*)
        # A password or token in the address stays out of the terminal.
        echo "MLFLOW_TRACKING_URI is a server: open it in a browser"
        exec python -m pipelines.tracking.pages "$(sed -E 's#://[^/]*@#://#; s#\?.*##' <<<"$store")" ;;
esac
[ "$store" != sqlite:///mlflow.db ] || [ -f mlflow.db ] || { echo "error: no runs yet (mlflow.db is missing); run 'make repro' first" >&2; exit 1; }
if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
    echo "error: port $port is taken, perhaps by another checkout's make ui; choose another one: make ui PORT=$((port + 1))" >&2
    exit 1
fi
export MLFLOW_DISABLE_TELEMETRY=true
echo "MLflow UI on http://127.0.0.1:$port (Ctrl-C ends it). Saved views, see docs/mlflow.md:"
python -m pipelines.tracking.pages "http://127.0.0.1:$port"
exec mlflow ui --backend-store-uri "$store" --host 127.0.0.1 --port "$port"
