package topics

// Mutation is a planted mistake, for the simulation to find.
type Mutation = mutation

// The mistakes.
const (
	ForgetAnswers = forgetAnswers
	CommitAlone   = commitAlone
	ForgetSeen    = forgetSeen
	KeepToItself  = keepToItself
	IgnoreSeen    = ignoreSeen
	SendOnce      = sendOnce
	TakeAnything  = takeAnything
	StaySmall     = staySmall
	AnyAck        = anyAck
	ManyChildren  = manyChildren
)

// Mutate plants a mistake.
func (e *Engine) Mutate(m Mutation) { e.mutation = m }
