package redis

import (
	"errors"
	"fmt"
	"slices"
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

// parseNodes reads CLUSTER NODES: id, address, flags, master, ping, pong, epoch, link, slots. What it cannot read is an error: a line
// left out would make a primary look like one without slots, which accepts no write.
func parseNodes(text string) (clusterSelf, error) {
	c := clusterSelf{known: true, first: -1, leaders: map[string]bool{}}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if len(fields) < 8 {
			return c, fmt.Errorf("CLUSTER NODES: a line of %d fields, not of 8 and its slots: %.80q", len(fields), line)
		}
		flags := strings.Split(fields[2], ",")
		master := slices.Contains(flags, "master")
		count, first, err := countSlots(fields[8:])
		if err != nil {
			return c, fmt.Errorf("CLUSTER NODES: %w", err)
		}
		if slices.Contains(flags, "myself") {
			if c.id != "" {
				return c, fmt.Errorf("CLUSTER NODES: both %s and %s are said to be the server itself", c.id, fields[0])
			}
			c.id, c.slots, c.first = fields[0], count, first
		}
		if !master || count == 0 {
			continue
		}
		c.masters++
		c.leaders[fields[0]] = true
		if !slices.Contains(flags, "fail") && !slices.Contains(flags, "fail?") {
			c.alive++
			c.covered += count
		}
	}
	if c.id == "" {
		return c, errors.New("CLUSTER NODES: no line is the server's own")
	}
	if c.covered > allSlots {
		return c, fmt.Errorf("CLUSTER NODES: %d slots of %d are said to be covered", c.covered, allSlots)
	}
	return c, nil
}

func countSlots(ranges []string) (count, first int, err error) {
	first = -1
	for _, text := range ranges {
		if strings.HasPrefix(text, "[") { // on its way from or to another node
			continue
		}
		from, to, isRange := strings.Cut(text, "-")
		if !isRange {
			to = from
		}
		low, err := strconv.ParseUint(from, 10, 14) // 16384 slots
		high, err2 := strconv.ParseUint(to, 10, 14)
		if err = errors.Join(err, err2); err != nil || low > high {
			return 0, -1, fmt.Errorf("%.80q is no range of slots", text)
		}
		if first < 0 {
			first = int(low)
		}
		count += int(high-low) + 1
	}
	if count > allSlots {
		return 0, -1, fmt.Errorf("one server is said to have %d slots of %d", count, allSlots)
	}
	return count, first, nil
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
