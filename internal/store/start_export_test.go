package store

// AtStart are the statements about events that each start asks.
var AtStart = map[string]string{"how many wait": sqlHowManyWait, "unsettled": sqlUnsettled}
