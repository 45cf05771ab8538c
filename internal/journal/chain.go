package journal

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// Genesis is the hash before a journal's first entry.
const Genesis = "0000000000000000000000000000000000000000000000000000000000000000"

// Link returns e with its place in the chain: the hash before it, and the SHA-256 of the entry's JSON with that hash in it.
func Link(e Entry, prev string) (Entry, error) {
	e.Prev, e.Hash = prev, ""
	text, err := json.Marshal(e)
	if err != nil {
		return Entry{}, fmt.Errorf("hash journal entry %d: %w", e.Seq, err)
	}
	sum := sha256.Sum256(text)
	e.Hash = hex.EncodeToString(sum[:])
	return e, nil
}

// Verify recomputes the chain and returns the digest: the last entry's hash. The error names the first entry that does not fit.
func Verify(entries []Entry) (string, error) {
	prev := Genesis
	for i, e := range entries {
		if e.Seq != i+1 {
			return "", fmt.Errorf("journal entry %d is numbered %d: an entry is missing or out of order", i+1, e.Seq)
		}
		if e.Prev != prev {
			return "", fmt.Errorf("journal entry %d does not follow entry %d: it names %.12s as the hash before it, which is %.12s", e.Seq, i, e.Prev, prev)
		}
		linked, err := Link(e, prev)
		if err != nil {
			return "", err
		}
		if linked.Hash != e.Hash {
			return "", fmt.Errorf("journal entry %d was changed: its hash is %.12s, its content makes %.12s", e.Seq, e.Hash, linked.Hash)
		}
		prev = e.Hash
	}
	return prev, nil
}
