package mdns

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

// mustTests says which test holds this package to which section of RFC 6762. The
// scripts in testdata say their sections themselves.
var mustTests = []struct{ section, test string }{
	{"5.2", "TestCache_RFC6762_5_2_RefreshesAt80To97Percent"},
	{"5.2", "TestQuerier_RFC6762_5_2_FirstQueryWaits20To120ms"},
	{"5.2", "TestQuerier_RFC6762_5_2_IntervalsDoubleUpToAnHour"},
	{"5.2", "TestQuerier_RFC6762_5_2_NoRefreshWithoutInterest"},
	{"5.2", "TestQuerier_RFC6762_5_2_UniqueAnswerEndsTheSeries"},
	{"5.4", "TestQuerier_RFC6762_5_4_OnlyTheFirstQuestionIsQU"},
	{"6", "TestResponder_RFC6762_6"},
	{"6", "TestResponder_RFC6762_6_AProbeIsDefendedWithinTheSecond"},
	{"6", "TestResponder_RFC6762_6_ARecordIsMulticastOnceASecond"},
	{"6", "TestResponder_RFC6762_6_SharedDelayIsUniform20To120ms"},
	{"6.1", "TestParseMessage_RFC6762_6_1_ABadRecordDoesNotCostTheOthers"},
	{"6.7", "TestResponder_RFC6762_6_7_LegacyTTLAtMost10s"},
	{"7.1", "TestQuerier_RFC6762_7_1_ListsKnownAnswersOverHalfTheirLife"},
	{"7.2", "TestMessage_RFC6762_7_2_KnownAnswersContinueWithTC"},
	{"7.3", "TestQuerier_RFC6762_7_3_ADuplicateQuestionCountsAsAsked"},
	{"8.1", "TestNode_RFC6762_8_1_ProbesAgainWhenTheLinkIsBack"},
	{"8.1", "TestProber_RFC6762_8_1_ADenialInAnyCaseRenames"},
	{"8.1", "TestProber_RFC6762_8_1_WaitsFiveSecondsAfterFifteenConflicts"},
	{"8.1", "TestProber_RFC6762_8_1_WaitsUpTo250msThenThreeProbes250msApart"},
	{"8.2", "TestProber_RFC6762_8_2_ALostTieBreakWaitsASecondAndKeepsTheName"},
	{"8.2.1", "TestCompareSets_RFC6762_8_2_1_LongerListWins"},
	{"8.3", "TestAnnouncer_RFC6762_8_3_AtLeastTwiceASecondApart"},
	{"8.3", "TestEngine_RFC6762_8_3_OnlyUniqueRecordsHaveTheFlushBit"},
	{"8.3", "TestNode_RFC6762_8_3_AnnouncesProbesAndAsksAfterALinkChange"},
	{"8.4", "TestAnnouncer_RFC6762_8_4_AtMostTenUpdatesAMinute"},
	{"9", "TestEngine_RFC6762_9_AConflictIsProbedForAgain"},
	{"9", "TestEngine_RFC6762_9_TheSameDataIsNoConflict"},
	{"9", "TestNode_RFC6762_9_ARenamedHostRemembersItsName"},
	{"10", "TestCache_RFC6762_10"},
	{"10.1", "TestEngine_RFC6762_10_1_WithdrawnRecordsGoWithTTL0"},
	{"10.3", "TestNode_RFC6762_10_3_ALostLinkCutsTTLs"},
	{"15.1", "TestKernel_RFC6762_15_1_FindsTheOtherProgram"},
	{"15.1", "TestNode_RFC6762_15_1_NoQUQuestionsWhereThePortIsShared"},
	{"16", "TestFoldName_RFC6762_16_OnlyASCIILetters"},
	{"17", "TestMessage_RFC6762_17_ALargeRecordTravelsAlone"},
	{"17", "TestMessage_RFC6762_17_SplitsAtTheLimit"},
	{"18", "TestMessage_RFC6762_18_HeaderOfAMulticastResponse"},
	{"18", "TestParseMessage_RFC6762_18_IgnoresOpcodeAndRcode"},
}

// TestMustTests_ListsWhatThereIs compares the list with the functions in the files.
func TestMustTests_ListsWhatThereIs(t *testing.T) {
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var there []string
	function := regexp.MustCompile(`(?m)^func (Test\w*_RFC6762_\w+)\(`)
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range function.FindAllSubmatch(b, -1) {
			there = append(there, string(m[1]))
		}
	}
	var listed []string
	for _, row := range mustTests {
		listed = append(listed, row.test)
		if !slices.Contains(there, row.test) {
			t.Errorf("section %s: there is no %s", row.section, row.test)
		}
	}
	for _, name := range there {
		if !slices.Contains(listed, name) {
			t.Errorf("%s is not listed", name)
		}
	}
}
