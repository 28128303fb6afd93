package drive

import "sync/atomic"

// Activity counts what a drive has done since it was opened.
type Activity struct {
	// Changes counts changes of the tree, and Syncs how often somebody waited for the
	// disk.
	Changes int64 `json:"changes"`
	Syncs   int64 `json:"syncs"`
	// ChunksRead and ChunksWritten count chunk bodies, the others their bytes.
	ChunksRead    int64 `json:"chunks_read"`
	BytesRead     int64 `json:"bytes_read"`
	ChunksWritten int64 `json:"chunks_written"`
	BytesWritten  int64 `json:"bytes_written"`
	// Open is how many files are open now, and Staged how many bytes written to them
	// are in memory alone.
	Open   int64 `json:"open"`
	Staged int64 `json:"staged"`
	// Disk and Network are how long it took to read a chunk from this disk, and to get
	// one from another machine.
	Disk    Latency `json:"disk"`
	Network Latency `json:"network"`
}

type activity struct {
	changes, syncs                               atomic.Int64
	chunksRead, bytesRead, chunksWrit, bytesWrit atomic.Int64
	disk, network                                latency
}

func (a *activity) read(body []byte) {
	a.chunksRead.Add(1)
	a.bytesRead.Add(int64(len(body)))
}

func (a *activity) wrote(body []byte) {
	a.chunksWrit.Add(1)
	a.bytesWrit.Add(int64(len(body)))
}

// Activity returns the counts.
func (d *Drive) Activity() Activity {
	d.mu.Lock()
	open := len(d.inodes)
	d.mu.Unlock()
	a := &d.activity
	return Activity{
		Changes: a.changes.Load(), Syncs: a.syncs.Load(),
		ChunksRead: a.chunksRead.Load(), BytesRead: a.bytesRead.Load(),
		ChunksWritten: a.chunksWrit.Load(), BytesWritten: a.bytesWrit.Load(),
		Open: int64(open), Staged: d.staged.Load(),
		Disk: a.disk.load(), Network: a.network.load(),
	}
}
