#!/usr/bin/env bash
# A real SLURM cluster on one machine, for trying and testing (Debian or Ubuntu, root or sudo):
#
#     scripts/slurm_cluster.sh up [--nodes N]     install what is missing, start N nodes (2)
#     scripts/slurm_cluster.sh status             the nodes, and how to use them; exit code 3 when it is down
#     scripts/slurm_cluster.sh down               cancel all jobs, stop what `up` started, leave no trace
#
# Nothing in it needs systemd or cgroups, so it works in a container. The nodes share the real cores; nothing
# limits a job's memory. Partitions: `debug` (default) and `low` are preempted, by requeueing, by `high`.
set -euo pipefail

STATE="${XDG_STATE_HOME:-/var/tmp}/lmablate-slurm"
CONF="$STATE/slurm.conf"
SYSTEM_CONF=/etc/slurm/slurm.conf
HOSTS=/etc/hosts
HOSTS_MARK="# lmablate-slurm"
NODES=2

main() {
    local command="${1:-}"
    [[ $# -gt 0 ]] && shift
    while [[ $# -gt 0 ]]; do
        case "$1" in
            --nodes) NODES="${2:-}"; shift; [[ $# -gt 0 ]] && shift ;;
            --nodes=*) NODES="${1#--nodes=}"; shift ;;
            *) usage "unknown argument '$1'" ;;
        esac
    done
    [[ "$NODES" =~ ^[1-9][0-9]?$ ]] || usage "--nodes is '$NODES', and must be a number from 1 to 99"
    case "$command" in
        up | down) as_root "$command" ;;
        status) status ;;
        *) usage "unknown command '$command'" ;;
    esac
}

usage() {
    echo "slurm_cluster: $1; usage: $0 up|down|status [--nodes N]" >&2
    exit 2
}

die() {
    echo "slurm_cluster: $1" >&2
    exit 1
}

as_root() {
    if [[ $EUID -eq 0 ]]; then
        "$1"
    else
        command -v sudo > /dev/null || die "'$1' needs root, and there is no sudo"
        exec sudo XDG_STATE_HOME="${XDG_STATE_HOME:-}" "$0" "$1" --nodes "$NODES"
    fi
}

up() {
    if alive slurmctld; then
        [[ "$(node_count)" == "$NODES" ]] || die "it is up with $(node_count) nodes: take it down first"
    else
        refuse_a_foreign_cluster
        install_packages
        write_config
    fi
    start_munged
    start slurmctld slurmctld -f "$CONF"
    for n in $(seq "$NODES"); do
        start "slurmd.n$n" slurmd -f "$CONF" -N "n$n"
    done
    ln -sfn "$CONF" "$SYSTEM_CONF"
    name_the_nodes
    return_the_nodes
    wait_until_nodes_answer
    status
}

down() {
    local pidfile state
    if alive slurmctld; then
        for state in PENDING RUNNING SUSPENDED; do
            SLURM_CONF="$CONF" scancel --state="$state" || true
        done
        wait_until_queue_is_empty
    fi
    for pidfile in "$STATE"/slurmd.*.pid "$STATE/slurmctld.pid" "$STATE/munge/munged.pid"; do
        stop "$(basename "$pidfile" .pid)"
    done
    if is_ours "$SYSTEM_CONF"; then rm "$SYSTEM_CONF"; fi
    forget_the_nodes
    rm -rf "$STATE"
    echo "slurm_cluster: down"
}

status() {
    if ! alive slurmctld || ! SLURM_CONF="$CONF" timeout 20 sinfo --Node; then
        echo "slurm_cluster: down; start it with $0 up"
        exit 3
    fi
    cat << END

Use it:   python -m lmablate.train -m hydra/launcher=slurm seed=0,1,2,3
Look:     sinfo; squeue; scontrol show job ID      Logs: $STATE/*.log
Preempt:  add hydra.launcher.partition=high to a second sweep
If the commands do not find the cluster:   export SLURM_CONF=$CONF
END
}

refuse_a_foreign_cluster() {
    if [[ -e "$SYSTEM_CONF" || -L "$SYSTEM_CONF" ]] && ! is_ours "$SYSTEM_CONF"; then
        die "$SYSTEM_CONF belongs to another cluster; this one would hide it"
    fi
}

is_ours() {
    [[ -L "$1" && "$(readlink "$1")" == "$CONF" ]]
}

install_packages() {
    command -v slurmctld slurmd munged sinfo > /dev/null && return
    command -v apt-get > /dev/null || die "slurm-wlm and munge are missing, and there is no apt-get to install them"
    apt-get update --quiet
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends slurm-wlm munge
}

write_config() {
    local host memory
    host="$(hostname -s)"
    memory="$(awk -v nodes="$NODES" '/MemTotal/ { print int($2 / 1024 / nodes) }' /proc/meminfo)"
    mkdir -p "$STATE/state" "$(dirname "$SYSTEM_CONF")"
    chmod 755 "$STATE"
    # cred_expire bounds the wait before a requeued job may start again (120 s otherwise). It must exceed KillWait: a
    # node that still ends the job's last attempt refuses the next one, and is drained. config_overrides lets every
    # node claim two processors whatever the machine has.
    cat > "$CONF" << END
ClusterName=lmablate
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=16817
AuthType=auth/munge
AuthInfo=socket=$STATE/munge/munge.socket,cred_expire=15
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$STATE/state
SlurmctldPidFile=$STATE/slurmctld.pid
SlurmctldLogFile=$STATE/slurmctld.log
SlurmdSpoolDir=$STATE/spool.%n
SlurmdPidFile=$STATE/slurmd.%n.pid
SlurmdLogFile=$STATE/slurmd.%n.log
SlurmdParameters=config_overrides
SlurmdTimeout=30
ReturnToService=2
KillWait=10
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=5,sched_interval=5
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
NodeName=n[1-$NODES] NodeHostname=$host NodeAddr=127.0.0.1 Port=[$((17000 + 1))-$((17000 + NODES))] CPUs=2 RealMemory=$memory State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES State=UP PriorityTier=1 GraceTime=20
PartitionName=low Nodes=ALL State=UP PriorityTier=1 GraceTime=20
PartitionName=high Nodes=ALL State=UP PriorityTier=10 PreemptMode=OFF
END
}

node_count() {
    sed -n 's/^NodeName=n\[1-\([0-9]*\)\].*/\1/p' "$CONF"
}

# Processes of one run on several nodes find each other by the nodes' names.
name_the_nodes() {
    forget_the_nodes
    echo "127.0.0.1 $(seq --separator=' ' --format='n%.0f' "$NODES") $HOSTS_MARK" >> "$HOSTS"
}

# In a container the file is often a mount: it can be written to, but not replaced.
forget_the_nodes() {
    local others
    others="$(grep -vF "$HOSTS_MARK" "$HOSTS" || true)"
    echo "$others" > "$HOSTS"
}

start_munged() {
    alive munged && return
    local folder="$STATE/munge"
    mkdir -p "$folder"
    [[ -e "$folder/munge.key" ]] || dd if=/dev/urandom of="$folder/munge.key" bs=128 count=1 status=none
    chmod 600 "$folder/munge.key"
    chown -R munge: "$folder"
    chmod 755 "$folder"
    su munge -s /bin/sh -c "munged --socket='$folder/munge.socket' --key-file='$folder/munge.key' \
        --pid-file='$folder/munged.pid' --log-file='$folder/munged.log' --seed-file='$folder/munge.seed'"
}

# start NAME COMMAND...: the daemon puts itself into the background once it serves.
start() {
    local name="$1"
    shift
    alive "$name" || "$@" || die "$name did not start; see $STATE/$name.log"
}

stop() {
    local pid
    alive "$1" || return 0
    pid="$(cat "$(pid_file "$1")")"
    kill "$pid"
    for _ in $(seq 100); do
        alive "$1" || return 0
        sleep 0.1
    done
    kill -KILL "$pid" 2> /dev/null || true
}

# alive NAME: its process runs, and is ours: a number in a stale file may be anyone's by now.
alive() {
    local pid
    pid="$(cat "$(pid_file "$1")" 2> /dev/null)" && [[ -n "$pid" ]] || return 1
    tr '\0' ' ' 2> /dev/null < "/proc/$pid/cmdline" | grep -qF -- "$STATE/"
}

pid_file() {
    if [[ "$1" == munged ]]; then echo "$STATE/munge/munged.pid"; else echo "$STATE/$1.pid"; fi
}

# SLURM drains a node that could not start a job, and leaves it to us to return it.
return_the_nodes() {
    local node
    for node in $(SLURM_CONF="$CONF" sinfo --Node --noheader --partition=debug --states=drain,drained --format='%N'); do
        SLURM_CONF="$CONF" scontrol update nodename="$node" state=resume
    done
}

wait_until_nodes_answer() {
    local ready
    for _ in $(seq 60); do
        ready="$(SLURM_CONF="$CONF" sinfo --Node --noheader --partition=debug --format='%t' 2> /dev/null \
            | grep -cE '^(idle|mix|alloc|comp)$' || true)"
        [[ "$ready" == "$NODES" ]] && return
        sleep 0.5
    done
    die "only ${ready:-0} of $NODES nodes answer after 30 s; see $STATE/*.log"
}

wait_until_queue_is_empty() {
    for _ in $(seq 60); do
        [[ -z "$(SLURM_CONF="$CONF" squeue --noheader 2> /dev/null)" ]] && return
        sleep 0.5
    done
    echo "slurm_cluster: some jobs do not end; stopping the nodes all the same" >&2
}

main "$@"
