package checkout

// OnStep has f called between the steps of publishing.
func (c *Config) OnStep(f func(name string) error) { c.step = f }
