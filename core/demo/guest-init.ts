// SPDX-License-Identifier: Apache-2.0
import { basename } from 'node:path';

/** The guest's only network address; documentation space (RFC 5737), so it can meet nothing real. */
export const guestAddress = '192.0.2.2';
/** What the guest writes at the start of sector 1 of each writable disk, followed by the disk's name. */
export const guestMark = 'ratchet-guest wrote this to ';

/**
 * The guest's first and only program. It lives in a loop of a tenth of a second and says on the serial line what it sees. The counter is
 * a shell variable, so it exists nowhere but in guest memory.
 */
export function initScript(modules: readonly string[]): string {
  return `#!/bin/busybox sh
export PATH=/bin
mount -t devtmpfs none /dev
mount -t proc none /proc
mount -t sysfs none /sys
exec </dev/null >/dev/ttyS0 2>&1
# No translation of line ends, no echo.
stty -F /dev/ttyS0 raw -echo
say() { echo "ratchet-guest: $*"; }
${modules.map((file) => `insmod /modules/${basename(file)} || say "no module ${basename(file)}"`).join('\n')}

see_nics() {
  now=
  for path in /sys/class/net/eth*; do
    [ -e "$path/address" ] || continue
    name=\${path##*/}
    now="$now $name"
    case "$nics " in *" $name "*) continue ;; esac
    read -r mac <"$path/address"
    [ "$name" = eth0 ] && ip address add ${guestAddress}/24 dev eth0
    ip link set "$name" up
    say "nic $name $mac"
  done
  for name in $nics; do
    case "$now " in *" $name "*) ;; *) say "nic-gone $name" ;; esac
  done
  nics=$now
}

see_disks() {
  now=
  for path in /sys/block/vd*; do
    [ -e "$path/size" ] || continue
    name=\${path##*/}
    now="$now $name"
    case "$disks " in *" $name "*) continue ;; esac
    read -r sectors <"$path/size"
    read -r read_only <"$path/ro"
    say "disk $name $((sectors * 512))"
    say "disk-text $name $(dd if=/dev/$name bs=512 count=1 2>/dev/null | tr -cd ' -~' | head -c 200)"
    if [ "$read_only" = 0 ]; then
      echo "${guestMark}$name" | dd of=/dev/$name bs=512 seek=1 conv=sync,fsync 2>/dev/null && say "disk-wrote $name"
    else
      say "disk-read-only $name"
    fi
  done
  for name in $disks; do
    case "$now " in *" $name "*) ;; *) say "disk-gone $name" ;; esac
  done
  disks=$now
}

see_cpus() {
  for path in /sys/devices/system/cpu/cpu[0-9]*; do
    [ -e "$path/online" ] || continue
    read -r online <"$path/online"
    [ "$online" = 1 ] || echo 1 >"$path/online"
  done
  read -r now </sys/devices/system/cpu/online
  [ "$now" = "$cpus" ] && return
  cpus=$now
  count=0
  for range in $(IFS=,; echo $cpus); do
    count=$((count + \${range#*-} - \${range%-*} + 1))
  done
  say "cpus $count"
}

# With load=yes on the kernel's command line: what comes over the serial line is repeated, disks and network are kept busy.
if [ "$load" = yes ]; then
  (while read -r line; do say "heard $line"; done </dev/ttyS0) &
  (
    round=0
    while :; do
      for path in /sys/block/vd*; do
        [ -e "$path/size" ] || continue
        disk=/dev/\${path##*/}
        dd if=$disk of=/dev/null bs=16k count=8 iflag=direct 2>/dev/null
        dd if=/dev/zero of=$disk bs=4k seek=8 count=8 oflag=direct 2>/dev/null
        dd if=/dev/zero of=$disk bs=64k seek=2 count=2 conv=fsync 2>/dev/null
      done
      [ -e /sys/class/net/eth0 ] && ping -c 3 -i 0.01 -W 1 -s 1200 192.0.2.1 >/dev/null
      round=$((round + 1))
      say "round $round"
      sleep 0.05
    done
  ) &
fi
say up
tick=0
while :; do
  tick=$((tick + 1))
  say "tick $tick"
  see_nics
  see_disks
  see_cpus
  sleep 0.1
done
`;
}
