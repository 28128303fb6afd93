package chunk

// What testKeys makes of "hello, world", sealed, and of a MiB of random(1).
const (
	goldenRef  = "81970a24d41258fe33620db4a7d19cd53b3c1a4f1653fcd3e61e097522922dd6"
	goldenBody = "fe1c8912e38106ac866272862c1323ee8e1f89f4eee98b9ca8484afe41e4"
	goldenRoot = "edda6e910144c8d73f07009f06f04a3ba63a3f374456764201511b8ccebf96e0"
)
