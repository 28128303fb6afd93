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
	{"4", "TestIsLocal_RFC6762_4_LinkLocalReverseNames"},
	{"5.2", "TestCache_RFC6762_5_2_RefreshesAt80To97Percent"},
	{"5.2", "TestQuerier_RFC6762_5_2_FirstQueryWaits20To120ms"},
	{"5.2", "TestQuerier_RFC6762_5_2_IntervalsDoubleUpToAnHour"},
	{"5.2", "TestQuerier_RFC6762_5_2_NoRefreshWithoutInterest"},
	{"5.2", "TestQuerier_RFC6762_5_2_UniqueAnswerEndsTheSeries"},
	{"5.3", "TestQuerier_RFC6762_5_3_SeveralQuestionsInOneQuery"},
	{"5.4", "TestEngine_RFC6762_5_4_AQUQueryFromOffTheLinkIsAnsweredByMulticast"},
	{"5.4", "TestEngine_RFC6762_5_4_NoQUWithoutUnicast"},
	{"5.4", "TestQuerier_RFC6762_5_4_OnlyTheFirstQuestionIsQU"},
	{"5.4", "TestResponder_RFC6762_5_4_ADenialIsUnicastForAQuarterOfItsLife"},
	{"5.4", "TestResponder_RFC6762_5_4_QUIsAnsweredByUnicastForAQuarterOfTheLife"},
	{"5.5", "TestEngine_RFC6762_5_5_ADirectLegacyQueryFromOffTheLinkIsIgnored"},
	{"5.5", "TestEngine_RFC6762_5_5_ADirectProbeFromOffTheLinkIsNoRival"},
	{"5.5", "TestEngine_RFC6762_5_5_ADirectQueryFromTheLinkIsAnsweredByUnicast"},
	{"6", "TestEngine_RFC6762_6_AQuestionInAResponseIsIgnored"},
	{"6", "TestEngine_RFC6762_6_AUnicastResponseIsBelievedForTwoSeconds"},
	{"6", "TestEngine_RFC6762_6_AUnicastResponseNobodyAskedForIsIgnored"},
	{"6", "TestEngine_RFC6762_6_AnUnaskedUnicastResponseIsNoConflict"},
	{"6", "TestEngine_RFC6762_6_OthersRecordsAreNotPassedOn"},
	{"6", "TestKernel_RFC6762_6_SendsFromPort5353WithHopLimit255"},
	{"6", "TestOwned_RFC6762_6_ClassMustMatch"},
	{"6", "TestResponder_RFC6762_6"},
	{"6", "TestResponder_RFC6762_6_ADefenceNotAgainBefore250ms"},
	{"6", "TestResponder_RFC6762_6_AProbeIsDefendedWithinTheSecond"},
	{"6", "TestResponder_RFC6762_6_ARecordIsMulticastOnceASecond"},
	{"6", "TestResponder_RFC6762_6_AUnicastAnswerHasNoFloor"},
	{"6", "TestResponder_RFC6762_6_NotAgainBeforeASecondAndThenAgain"},
	{"6", "TestResponder_RFC6762_6_SharedDelayIsUniform20To120ms"},
	{"6.1", "TestNode_RFC6762_6_1_ADenialEndsTheWait"},
	{"6.1", "TestOwned_RFC6762_6_1_BitmapIsAtMost32Bytes"},
	{"6.1", "TestOwned_RFC6762_6_1_NextNameBlockAndBitmap"},
	{"6.1", "TestOwned_RFC6762_6_1_NoDenialForANameWithTypesAbove255"},
	{"6.1", "TestOwned_RFC6762_6_1_TheNSECBitIsClear"},
	{"6.1", "TestOwned_RFC6762_6_1_TheTTLDoesNotDependOnTheOrder"},
	{"6.1", "TestOwned_RFC6762_6_1_TheTTLIsThatOfTheNamesRecords"},
	{"6.1", "TestParseMessage_RFC6762_6_1_ABadRecordDoesNotCostTheOthers"},
	{"6.1", "TestParseMessage_RFC6762_6_1_AnyNextNameIsAccepted"},
	{"6.1", "TestResponder_RFC6762_6_1_NoDenialForASharedName"},
	{"6.1", "TestResponder_RFC6762_6_1_NoDenialWhileProbing"},
	{"6.2", "TestResponder_RFC6762_6_2_ADenialOfAAAAIsInAdditional"},
	{"6.2", "TestResponder_RFC6762_6_2_AHasAAAAInAdditional"},
	{"6.3", "TestResponder_RFC6762_6_3_AProbeAmongQuestionsIsDefendedAtOnce"},
	{"6.3", "TestResponder_RFC6762_6_3_EveryQuestionOfAMessageIsAnswered"},
	{"6.3", "TestResponder_RFC6762_6_3_SeveralQuestionsAreDelayedUniformly20To120ms"},
	{"6.4", "TestResponder_RFC6762_6_4_AggregationEndsAfter500ms"},
	{"6.4", "TestResponder_RFC6762_6_4_NoRecordTwiceInAPacket"},
	{"6.5", "TestOwned_RFC6762_6_5_AnyTypeMeansAllAndNoDenial"},
	{"6.6", "TestResponder_RFC6762_6_6_HalfOfTheLifeIsNotCorrected"},
	{"6.7", "TestEngine_RFC6762_6_7_OurRecordsKeepTheirLife"},
	{"6.7", "TestResponder_RFC6762_6_7_AShorterLifeStaysShort"},
	{"6.7", "TestResponder_RFC6762_6_7_IDQuestionAndSourceAreRepeated"},
	{"6.7", "TestResponder_RFC6762_6_7_LegacyTTLAtMost10s"},
	{"6.7", "TestResponder_RFC6762_6_7_NoFlushBitAnywhere"},
	{"6.7", "TestResponder_RFC6762_6_7_NoUnicastBitInTheQuestion"},
	{"6.7", "TestResponder_RFC6762_6_7_OthersRecordsAreNotAnswered"},
	{"7.1", "TestEngine_RFC6762_7_1_KnownAnswersOfOthersAreNotCached"},
	{"7.1", "TestQuerier_RFC6762_7_1_ListsKnownAnswersOverHalfTheirLife"},
	{"7.1", "TestResponder_RFC6762_7_1_HalfOfAnOddLife"},
	{"7.2", "TestMessage_RFC6762_7_2_KnownAnswersContinueWithTC"},
	{"7.2", "TestMessage_RFC6762_7_2_QuestionsInSeveralPacketsHaveTC"},
	{"7.2", "TestResponder_RFC6762_7_2_AFurtherTruncatedPacketRestartsTheWait"},
	{"7.2", "TestResponder_RFC6762_7_2_ATruncatedQueryWaitsUniformly400To500ms"},
	{"7.2", "TestResponder_RFC6762_7_2_KnownAnswersOfAnotherQuerierDoNotCount"},
	{"7.2", "TestResponder_RFC6762_7_2_TheLastPacketDoesNotRestartTheWait"},
	{"7.3", "TestQuerier_RFC6762_7_3_ADuplicateQuestionCountsAsAsked"},
	{"7.3", "TestQuerier_RFC6762_7_3_AQuestionThatDiffersDoesNotCount"},
	{"7.4", "TestResponder_RFC6762_7_4_AShorterLifeDoesNotSilenceUs"},
	{"8.1", "TestEngine_RFC6762_8_1_AChangeToANewNameIsProbedFor"},
	{"8.1", "TestHost_RFC6762_8_1_EveryProbeAfterFifteenConflictsWaitsFiveSeconds"},
	{"8.1", "TestNode_RFC6762_8_1_ProbesAgainWhenTheLinkIsBack"},
	{"8.1", "TestProber_RFC6762_8_1_ADenialInAnyCaseRenames"},
	{"8.1", "TestProber_RFC6762_8_1_ADenialInAnySectionCounts"},
	{"8.1", "TestProber_RFC6762_8_1_AnAnswerBeforeTheFirstProbeIsIgnored"},
	{"8.1", "TestProber_RFC6762_8_1_ProbesForSeveralNamesHaveAllTheirRecords"},
	{"8.1", "TestProber_RFC6762_8_1_WaitsFiveSecondsAfterFifteenConflicts"},
	{"8.1", "TestProber_RFC6762_8_1_WaitsUpTo250msThenThreeProbes250msApart"},
	{"8.2", "TestEngine_RFC6762_8_2_ProposedRecordsAreNotCached"},
	{"8.2", "TestProber_RFC6762_8_2_ALostTieBreakWaitsASecondAndKeepsTheName"},
	{"8.2", "TestProber_RFC6762_8_2_AWonTieBreakKeepsTheSpacing"},
	{"8.2", "TestProber_RFC6762_8_2_TheWholeSetDecides"},
	{"8.2", "TestSplit_RFC6762_8_2_AProbeIsOnePacket"},
	{"8.2.1", "TestCompareSets_RFC6762_8_2_1_LongerListWins"},
	{"8.3", "TestAnnouncer_RFC6762_8_3_AtLeastTwiceASecondApart"},
	{"8.3", "TestAnnouncer_RFC6762_8_3_NotPeriodically"},
	{"8.3", "TestEngine_RFC6762_8_3_OnlyUniqueRecordsHaveTheFlushBit"},
	{"8.3", "TestHost_RFC6762_8_3_AfterTheLinkWasAwayAllIsProbedAgain"},
	{"8.3", "TestHost_RFC6762_8_3_DeniedAfterTheLinkWasAwayItMoves"},
	{"8.3", "TestNode_RFC6762_8_3_AnnouncesProbesAndAsksAfterALinkChange"},
	{"8.4", "TestAnnouncer_RFC6762_8_4_AtMostTenUpdatesAMinute"},
	{"8.4", "TestEngine_RFC6762_8_4_AChangeNeedsNoNewProbe"},
	{"8.4", "TestEngine_RFC6762_8_4_AWaitingAnswerIsNotOfTheOldRecord"},
	{"9", "TestEngine_RFC6762_9_AConflictInAnySectionOfAResponse"},
	{"9", "TestEngine_RFC6762_9_AConflictIsProbedForAgain"},
	{"9", "TestEngine_RFC6762_9_AConflictProbesTheSameNameFirst"},
	{"9", "TestEngine_RFC6762_9_NoAnswersUnderAContestedName"},
	{"9", "TestEngine_RFC6762_9_OurRecordSaidByAnotherIsNotCached"},
	{"9", "TestEngine_RFC6762_9_TheSameDataIsNoConflict"},
	{"9", "TestEngine_RFC6762_9_WhatIsNoConflict"},
	{"9", "TestHost_RFC6762_9_ALostInstanceIsWithdrawn"},
	{"9", "TestHost_RFC6762_9_TheLoserGivesTheNameUp"},
	{"9", "TestNode_RFC6762_9_ARenamedHostRemembersItsName"},
	{"10", "TestCache_RFC6762_10"},
	{"10.1", "TestCache_RFC6762_10_1_AGoodbyeForTheUnknownIsNothing"},
	{"10.1", "TestCache_RFC6762_10_1_AGoodbyeIsTakenBackWithinASecond"},
	{"10.1", "TestCache_RFC6762_10_1_ASecondOpinion"},
	{"10.1", "TestEngine_RFC6762_10_1_AGoodbyeOnlyForWhatWasAnnounced"},
	{"10.1", "TestEngine_RFC6762_10_1_AGoodbyeWhileProbingAgain"},
	{"10.1", "TestEngine_RFC6762_10_1_AWaitingDenialOfAWithdrawnNameIsNotSent"},
	{"10.1", "TestEngine_RFC6762_10_1_NoGoodbyeForWhatAnotherSetStillHas"},
	{"10.1", "TestEngine_RFC6762_10_1_WithdrawnRecordsGoWithTTL0"},
	{"10.1", "TestHost_RFC6762_10_1_ANewNameSaysGoodbyeToTheOld"},
	{"10.1", "TestResponder_RFC6762_10_1_AForeignGoodbyeIsCorrected"},
	{"10.2", "TestCache_RFC6762_10_2"},
	{"10.2", "TestCache_RFC6762_10_2_AGoodbyeFlushesNothingElse"},
	{"10.2", "TestEngine_RFC6762_10_2_AUniqueSetGoesWhole"},
	{"10.2", "TestQuerier_RFC6762_10_2_NoFlushBitInKnownAnswers"},
	{"10.3", "TestNode_RFC6762_10_3_ALostLinkCutsTTLs"},
	{"10.4", "TestCache_RFC6762_10_4_AsksTwiceOrMoreAndFlushesAfterTenSeconds"},
	{"10.4", "TestEngine_RFC6762_10_4_AnAnswerConfirms"},
	{"10.4", "TestHost_RFC6762_10_4_ReconfirmRefusesWhatIsNoRecord"},
	{"10.4", "TestNode_RFC6762_10_4_ReconfirmTellsTheWholeLink"},
	{"10.5", "TestCache_RFC6762_10_5_OwnQueriesLetTheOwnerAnswer"},
	{"10.5", "TestCache_RFC6762_10_5_TwoUnansweredQueriesOfOthers"},
	{"10.5", "TestCache_RFC6762_10_5_WhenQueriesCount"},
	{"11", "TestEngine_RFC6762_11_AMulticastResponseIsAlwaysLocal"},
	{"11", "TestEngine_RFC6762_11_AUnicastResponseFromOffTheLinkIsIgnored"},
	{"11", "TestLink_RFC6762_11_OnLinkAddresses"},
	{"14", "TestHost_RFC6762_14_AnEchoFromTheOtherInterfaceIsNoRival"},
	{"14", "TestHost_RFC6762_14_EachInterfaceSaysItsOwnAddress"},
	{"14", "TestHost_RFC6762_14_OurOtherInterfaceIsNoConflict"},
	{"14", "TestHost_RFC6762_14_OurOtherInterfacesProbeIsNoRival"},
	{"14", "TestHost_RFC6762_14_WhatOneInterfaceHearsIsNotSaidOnTheOther"},
	{"15.1", "TestKernel_RFC6762_15_1_FindsTheOtherProgram"},
	{"15.1", "TestNode_RFC6762_15_1_NoQUQuestionsWhereThePortIsShared"},
	{"16", "TestCache_RFC6762_16_CaseIsKeptAndIgnored"},
	{"16", "TestFoldName_RFC6762_16_OnlyASCIILetters"},
	{"16", "TestMessage_RFC6762_16_NamesAreUTF8"},
	{"16", "TestResponder_RFC6762_16_CaseOfTheAnswerIsOurs"},
	{"16", "TestResponder_RFC6762_16_NoCaseOutsideASCII"},
	{"17", "TestLink_RFC6762_17_LargestMessageOfAFrame"},
	{"17", "TestMessage_RFC6762_17_ALargeRecordTravelsAlone"},
	{"17", "TestMessage_RFC6762_17_SplitsAtTheLimit"},
	{"17", "TestParseMessage_RFC6762_17_AcceptsUpTo9000Bytes"},
	{"18", "TestMessage_RFC6762_18_HeaderOfAMulticastResponse"},
	{"18", "TestMessage_RFC6762_18_HeaderOfAQuery"},
	{"18", "TestParseMessage_RFC6762_18_IgnoresOpcodeAndRcode"},
	{"18", "TestParseMessage_RFC6762_18_MeaninglessBitsChangeNothing"},
	{"18.1", "TestEngine_RFC6762_18_1_ALegacyAnswerHasTheQuerysID"},
	{"18.1", "TestEngine_RFC6762_18_1_AMulticastAnswerHasIDZero"},
	{"18.1", "TestEngine_RFC6762_18_1_TheIDOfAMulticastResponseIsIgnored"},
	{"18.3", "TestParseMessage_RFC6762_18_3_EveryOtherOpcodeIsIgnored"},
	{"18.4", "TestParseMessage_RFC6762_18_4_AnAnswerNeedNotBeAuthoritative"},
	{"18.5", "TestEngine_RFC6762_18_5_TCOfAResponseIsIgnored"},
	{"18.5", "TestMessage_RFC6762_18_5_ALegacyAnswerTooLongHasTC"},
	{"18.5", "TestMessage_RFC6762_18_5_AResponseInSeveralPacketsHasNoTC"},
	{"18.11", "TestParseMessage_RFC6762_18_11_EveryOtherResponseCodeIsIgnored"},
	{"18.12", "TestMessage_RFC6762_18_12_UnicastBitIsNotPartOfTheClass"},
	{"18.13", "TestMessage_RFC6762_18_13_FlushBitIsNotPartOfTheClass"},
	{"18.14", "TestMessage_RFC6762_18_14_NamesAreCompressed"},
	{"18.14", "TestMessage_RFC6762_18_14_QuestionsAndKnownAnswersAreCompressed"},
	{"18.14", "TestMessage_RFC6762_18_14_SRVForALegacyResolverIsNotCompressed"},
	{"18.14", "TestMessage_RFC6762_18_14_UnknownRdataStaysAsItIs"},
	{"18.14", "TestParseMessage_RFC6762_18_14_CompressedSRVIsRead"},
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
