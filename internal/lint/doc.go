// Package lint holds the rules of this project as tests: which package may import
// which, what an engine must not touch, what is documented, what things are not
// called. The tests read the sources themselves, for all systems at once, and run
// no other program.
//
// A rule is a function from the sources to what it found. It runs twice: on this
// project, where it must find nothing, and on a few planted lines that break it,
// where it must find them. Exceptions stand in tables beside the rule, each with
// its reason. Start with tree_test.go; imports_test.go is the map of the house.
package lint
