# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Sourced by the scripts of this folder, each of which runs one real server for the tests of tests/integration. A script
# sets NAME and VERSION, defines make_distribution, configure and answers, and then calls: main "$@"
#
# No distribution is downloaded: the server is put together from the jars that its makers publish on Maven Central, by a
# small main class of our own. That needs a JDK and Maven (scripts/install-deps --services), and runs as any user, root too.

. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

CACHE=${LOOM_SERVICES_DIR:-${HOME:-/root}/.cache/loom-services}
DIST=$CACHE/$NAME-$VERSION
HEAP=${LOOM_SERVICES_HEAP:-512m}
WAIT_S=${LOOM_SERVICES_WAIT_S:-180}
RUN=$CACHE/run-$NAME
PORT=
SECURE=no
SETTINGS=()

# ---- Putting it together

# jars DIRECTORY LEFT_OUT GROUP:ARTIFACT:VERSION[:TYPE]...: these and all that they need, but for some artifacts (a list
# with commas) that something else brings.
jars()
{
  local directory=$1 left_out=$2 pom coordinates group artifact version type
  shift 2
  pom=$(mktemp --suffix .xml)
  {
    echo '<project><modelVersion>4.0.0</modelVersion><groupId>loom</groupId><artifactId>jars</artifactId>'
    echo '<version>1</version><packaging>pom</packaging><dependencies>'
    for coordinates; do
      IFS=: read -r group artifact version type <<<"$coordinates"
      printf '<dependency><groupId>%s</groupId><artifactId>%s</artifactId><version>%s</version><type>%s</type></dependency>\n' \
        "$group" "$artifact" "$version" "${type:-jar}"
    done
    echo '</dependencies></project>'
  } >"$pom"
  local options=(--quiet --batch-mode --strict-checksums --file "$pom" -DoutputDirectory="$directory" -DincludeScope=runtime)
  [ -z "$left_out" ] || options+=(-DexcludeArtifactIds="$left_out")
  mvn "${options[@]}" org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies >"$directory.log" 2>&1 ||
    { tail -n 30 "$directory.log" >&2; die "Maven could not fetch $*"; }
  rm -f "$pom" "$directory.log"
}

# compile DIRECTORY CLASS_PATH: the Java files of a directory, in place.
compile()
{
  local files
  mapfile -t files < <(find "$1" -name '*.java')
  javac -nowarn -cp "$2" -d "$1" "${files[@]}" 2>"$1.log" || { cat "$1.log" >&2; die "javac failed"; }
  rm -f "$1.log"
}

# Into a directory beside, which then takes its place: one that is there is whole.
install()
{
  if [ -d "$DIST" ]; then return; fi
  local tool
  for tool in java javac jar mvn; do
    command -v $tool >/dev/null || die "there is no $tool: run scripts/install-deps --services first"
  done
  mkdir -p "$CACHE"
  exec 9>"$CACHE/lock"
  flock 9
  if [ ! -d "$DIST" ]; then
    say "$NAME $VERSION: fetching it from Maven Central, into $DIST"
    rm -rf "$DIST.new"
    mkdir "$DIST.new"
    make_distribution "$DIST.new"
    mv "$DIST.new" "$DIST"
  fi
  exec 9>&-
}

# ---- An instance

# A number of a process may be used again; with the time of its start it means this one.
birth()
{
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  read -r -a stat <<<"${stat##*) }"
  [ "${stat[0]}" != Z ] && echo "${stat[19]}"
}

# Prints the number of the instance's process, or fails.
alive()
{
  local pid born
  read -r pid born 2>/dev/null <"$RUN/pid" || return 1
  [ -n "$born" ] && [ "$(birth "$pid")" = "$born" ] && echo "$pid"
}

free_port()
{
  /usr/bin/python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Settings common to both servers.
base_settings()
{
  cat <<END
cluster.name: loom-test
node.name: node
discovery.type: single-node
network.host: 127.0.0.1
http.port: $PORT
transport.port: 0
path.data: $RUN/data
path.logs: $RUN/logs
node.store.allow_mmap: false
cluster.routing.allocation.disk.threshold_enabled: false
END
  [ ${#SETTINGS[@]} = 0 ] || printf '%s\n' "${SETTINGS[@]}"
}

log_settings()
{
  cat <<'END'
status = error
shutdownHook = disable
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{ISO8601} %p %c{1}: %m%n
rootLogger.level = info
rootLogger.appenderRef.out.ref = out
END
}

start()
{
  local pid
  if alive >/dev/null; then die "already runs in $RUN"; fi
  install
  mkdir -p "$RUN/conf" "$RUN/home/plugins" "$RUN/tmp"
  [ -n "$PORT" ] || PORT=$(cat "$RUN/port" 2>/dev/null || free_port)
  echo "$PORT" >"$RUN/port"
  ln -sfn "$DIST/modules" "$RUN/home/modules"
  log_settings >"$RUN/conf/log4j2.properties"
  configure
  # In a session of its own it outlives the shell that it was started from; tests want it to end with them.
  local session=(setsid)
  [ "${LOOM_SERVICES_STAY:-yes}" = yes ] || session=()
  "${session[@]}" java "-Xms$HEAP" "-Xmx$HEAP" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dfile.encoding=UTF-8 \
    -Djava.awt.headless=true "-Djava.io.tmpdir=$RUN/tmp" "-XX:ErrorFile=$RUN/crash.log" \
    "-Dlog4j2.configurationFile=$RUN/conf/log4j2.properties" -Dlog4j2.disable.jmx=true \
    -cp "$DIST/main:$DIST/lib/*" Main "$RUN/home" "$RUN/conf" >>"$RUN/log" 2>&1 </dev/null &
  pid=$!
  echo "$pid $(birth "$pid")" >"$RUN/pid"
  note "$NAME $VERSION: process $pid, port $PORT, in $RUN"
}

wait_ready()
{
  local until=$((SECONDS + WAIT_S))
  PORT=$(cat "$RUN/port")
  until answers; do
    if ! alive >/dev/null; then
      tail -n 40 "$RUN/log" >&2
      die "$NAME ended"
    fi
    if [ $SECONDS -ge $until ]; then
      tail -n 40 "$RUN/log" >&2
      die "$NAME does not answer after $WAIT_S s"
    fi
    sleep 0.2
  done
  note "$NAME answers on port $PORT"
}

stop()
{
  local pid try
  if pid=$(alive); then
    kill "$pid"
    kill -CONT "$pid" # it may be paused
    for ((try = 0; try < 300; try++)); do
      alive >/dev/null || break
      sleep 0.1
    done
    if alive >/dev/null; then kill -KILL "$pid"; fi
    note "$NAME: stopped"
  fi
  rm -f "$RUN/pid"
}

main()
{
  local command=${1:-}
  [ $# = 0 ] || shift
  while [ $# -gt 0 ]; do
    case $1 in
      --run) RUN=$(realpath -m "$2"); shift ;;
      --port) PORT=$2; shift ;;
      --set) SETTINGS+=("$2"); shift ;;
      --secure) SECURE=yes ;;
      *) die "unknown option $1 (see --help)" ;;
    esac
    shift
  done
  case $command in
    install) install ;;
    start) start ;;
    wait) wait_ready ;;
    stop) stop ;;
    status) if alive >/dev/null; then note "runs"; else note "does not run"; return 3; fi ;;
    -h | --help) help ;;
    *) die "unknown command '$command' (see --help)" ;;
  esac
}
