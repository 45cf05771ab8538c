package redis

import (
	"strconv"
	"strings"

	"github.com/musterhq/muster/runbooks"
)

const allSlots = 16384

// clusterSelf is what a server knows of its cluster.
type clusterSelf struct {
	known   bool
	state   string // "ok" where it takes clients' commands
	id      string
	slots   int             // its own
	first   int             // one of them
	covered int             // by masters that are not failing
	masters int             // with slots
	alive   int             // of those, not seen as failing
	leaders map[string]bool // IDs of masters with slots
}

func clustered(n node) bool { return n.redis.Shape == runbooks.RedisCluster }

// parseNodes reads CLUSTER NODES: id, address, flags, master, ping, pong, epoch, link, slots.
func parseNodes(text string) clusterSelf {
	c := clusterSelf{known: true, first: -1, leaders: map[string]bool{}}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 8 {
			continue
		}
		flags := strings.Split(fields[2], ",")
		var self, master, failing bool
		for _, flag := range flags {
			self = self || flag == "myself"
			master = master || flag == "master"
			failing = failing || flag == "fail" || flag == "fail?"
		}
		count, first := countSlots(fields[8:])
		if self {
			c.id, c.slots, c.first = fields[0], count, first
		}
		if !master || count == 0 {
			continue
		}
		c.masters++
		c.leaders[fields[0]] = true
		if !failing {
			c.alive++
			c.covered += count
		}
	}
	return c
}

func countSlots(ranges []string) (count, first int) {
	first = -1
	for _, text := range ranges {
		if strings.HasPrefix(text, "[") { // on its way from or to another node
			continue
		}
		from, to, isRange := strings.Cut(text, "-")
		if !isRange {
			to = from
		}
		low, err := strconv.Atoi(from)
		high, err2 := strconv.Atoi(to)
		if err != nil || err2 != nil {
			continue
		}
		if first < 0 {
			first = low
		}
		count += high - low + 1
	}
	return count, first
}

// slotOf is CRC16 (XMODEM) of the key modulo the number of slots, as the Redis Cluster specification has it. The key has no hash tag.
func slotOf(key string) int {
	crc := uint16(0)
	for _, b := range []byte(key) {
		crc ^= uint16(b) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc) % allSlots
}

// keyIn returns a key of a slot, -1 standing for any.
func keyIn(slot int) string {
	for i := 0; ; i++ {
		key := "muster:proof:" + strconv.Itoa(i)
		if slot < 0 || slotOf(key) == slot {
			return key
		}
	}
}
