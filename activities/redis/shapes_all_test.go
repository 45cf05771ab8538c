//go:build redis

package redis_test

import "github.com/musterhq/muster/runbooks"

var shapes = []string{runbooks.RedisReplication, runbooks.RedisSentinel, runbooks.RedisCluster}
