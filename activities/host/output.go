package host

// maxOutput is how much of a command's stdout and stderr is kept, each: the end, where errors are.
const maxOutput = 1 << 20

// tail keeps the last maxOutput bytes written to it, and never fails: a command is not stopped for talking too much.
type tail struct{ buf []byte }

func (t *tail) Write(p []byte) (int, error) {
	n := len(p)
	if n > maxOutput {
		p = p[n-maxOutput:]
	}
	if len(t.buf)+len(p) > 2*maxOutput {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-maxOutput:]...)
	}
	t.buf = append(t.buf, p...)
	return n, nil
}

func (t *tail) String() string {
	if len(t.buf) > maxOutput {
		return string(t.buf[len(t.buf)-maxOutput:])
	}
	return string(t.buf)
}
