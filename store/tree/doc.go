// Package tree keeps the names of a drive: which files and directories there
// are, what they are called, which version of a file is the current one, and
// what is shown where two machines changed the same thing without knowing of
// each other.
//
// Every change is an [Op], made by one machine, numbered by it, and never
// altered. What a user sees is a pure function of the set of operations that
// have arrived: two machines with the same set show the same drive, in whatever
// order the operations came (Kleppmann et al., "A highly-available move
// operation for replicated trees", 2022).
//
//	node       a file or directory; its ID comes from the operation that made it.
//	place      the directory and name of a node; the move with the latest stamp
//	           counts, and a move that would put a directory inside itself does not.
//	version    the bytes of a file. A version that another has seen and replaced
//	           is gone. Of those that remain the latest stamp is the winner and
//	           the others are losers, shown as conflict copies.
//	deletion   removes what its author had seen under the node, no more.
//	seen       operation A was seen by operation B when B's author had applied A
//	           before it made B. Operations carry this as the changes of the
//	           author's vector since its operation before.
//	row        what a directory shows under one name; rows are kept ready to read.
//	past row   what a name showed until some time. Only ends are written, so that
//	           new files cost nothing.
//	group      directories of one name in one place, shown as one. Its canonical
//	           directory is the one with the lowest ID.
//	link       another name of a file: a node with a place and deletions of its
//	           own, which shows what the file shows. A file lasts as long as one of
//	           its names.
//	xattr      an extended attribute of a node; the latest value counts, and a
//	           removal is a value too.
//
// An operation goes through these states:
//
//	received ─► parked (something it has seen is missing) ─► applied
//
// so that whatever is applied is closed under "seen", and a version that has
// been replaced can be forgotten at once.
//
// The rules for concurrent changes:
//
//	edit, edit           later stamp keeps the name; the loser is shown as
//	                     "stem (conflict 2025-01-31 1405 MACHINE-SEQ).ext", derived
//	                     from the losing operation alone. Equal bytes never conflict.
//	delete, edit         later edit: the file stays. Later delete: the name goes
//	                     and the edit is shown as a conflict copy.
//	delete, move         the later stamp counts.
//	rmdir, change inside the directory stays while something in it is visible.
//	move, move           the later stamp counts.
//	moves in a cycle     the later one is ignored.
//	link, delete file    the link stays and shows the file.
//	chmod, edit          both count; the time of the new bytes is theirs.
//	xattr, xattr         the later stamp counts, name by name.
//	assign, anything     other holders, and other keys for the same bytes, are no
//	                     edit: they never conflict and never win over one.
//	same name, files     later stamp has the name, the other a conflict name.
//	same name, dirs      shown as one directory.
//	file and dir         the directory has the name.
//
// A save replaces the winner only: conflict copies stay until they are removed,
// renamed or written. A conflict copy whose very name a real file bears is
// hidden until that file is gone.
//
// The time of a directory goes with its entries, as [Tree.Node] says it: it follows from
// the operations that changed what it shows (entries.go).
//
// What was removed is remembered until every author has answered, and is purged then;
// who is silent too long is retired, lest he keep the others from forgetting. lapse.go
// has the four operations for that. Root hashes, and hashes of ranges of nodes, tell
// whether two machines with the same operations have the same drive: compare.go.
//
// Names are stored exactly as given. Stamps come from a hybrid logical clock; a
// machine does not follow clocks more than a minute ahead of its own, and says so
// with an [Alarm] event.
//
// Past rows are a machine's own memory of what it showed: two machines with the
// same operations may have heard of them in different orders and remember
// different pasts. They change nothing that is shown and are in no hash. An
// operation that arrives late counts from its stamp on, where the name was free.
// [Tree.History], [Tree.LookupAt], [Tree.ListAt] read them, [Tree.Restore] and
// [Tree.Undo] bring things back by ordinary operations, [Tree.PastVersions] says
// what bytes they need, and [Tree.ForgetPast] ends them.
//
// Names are reached by path ([Tree.Lookup], [Tree.Put]) or by ID ([Tree.Child],
// [Tree.CreateAt]), as a file system needs it that has to follow renames. Every
// change reports by [NameChanged] events which names show something else, so that
// who caches them knows.
//
// One call works through a buffer (buffer.go) that reads and writes each record
// once, however often the rules come back to it. Records are encoded by hand
// (binary.go); operations, which travel, in canonical CBOR (codec.go).
//
// All state lies in a [store.KV] under [store.PrefixTree]; memory does not grow
// with the number of files. Read op.go first, then settle.go and rows.go.
package tree
