package journal

import (
	"bytes"
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
	e, text, err := settle(e)
	if err != nil {
		return Entry{}, fmt.Errorf("hash journal entry %d: %w", e.Seq, err)
	}
	sum := sha256.Sum256(text)
	e.Hash = hex.EncodeToString(sum[:])
	return e, nil
}

// settle returns v and its JSON as they are for whoever reads them back. encoding/json writes invalid UTF-8 (a command's
// latin-1 message) as an escape and reads that as another text with another JSON: a hash over the first would never fit again.
func settle[T any](v T) (T, []byte, error) {
	text, err := json.Marshal(v)
	if err != nil || !bytes.Contains(text, []byte(`\ufffd`)) {
		return v, text, err
	}
	var read T
	if err := json.Unmarshal(text, &read); err != nil {
		return v, nil, err
	}
	text, err = json.Marshal(read)
	return read, text, err
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
