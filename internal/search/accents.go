package search

import "unicode"

// accents holds the lower-case letters of the Latin, Greek and Cyrillic scripts that are found by
// a letter without its accents, by that letter.
var accents = map[rune]string{
	'a': "àáâãäåāăąǎǟǡǻȁȃȧḁạảấầẩẫậắằẳẵặ",
	'b': "ḃḅḇ",
	'c': "çćĉċčḉ",
	'd': "ďḋḍḏḑḓđ",
	'e': "èéêëēĕėęěȅȇȩḕḗḙḛḝẹẻẽếềểễệ",
	'f': "ḟ",
	'g': "ĝğġģǧǵḡ",
	'h': "ĥȟḣḥḧḩḫẖħ",
	'i': "ìíîïĩīĭįǐȉȋḭḯỉị",
	'j': "ĵǰ",
	'k': "ķǩḱḳḵ",
	'l': "ĺļľḷḹḻḽł",
	'm': "ḿṁṃ",
	'n': "ñńņňǹṅṇṉṋ",
	'o': "òóôõöōŏőơǒǫǭȍȏȫȭȯȱṍṏṑṓọỏốồổỗộớờởỡợøǿ",
	'p': "ṕṗ",
	'r': "ŕŗřȑȓṙṛṝṟ",
	's': "śŝşšșṡṣṥṧṩſẛ",
	't': "ţťțṫṭṯṱẗ",
	'u': "ùúûüũūŭůűųưǔǖǘǚǜȕȗṳṵṷṹṻụủứừửữự",
	'v': "ṽṿ",
	'w': "ŵẁẃẅẇẉẘ",
	'x': "ẋẍ",
	'y': "ýÿŷȳẏẙỳỵỷỹ",
	'z': "źżžẑẓẕ",
	'æ': "ǣǽ",
	'ʒ': "ǯ",
	'α': "άἀἁἂἃἄἅἆἇὰάᾀᾁᾂᾃᾄᾅᾆᾇᾰᾱᾲᾳᾴᾶᾷ",
	'ε': "έἐἑἒἓἔἕὲέ",
	'η': "ήἠἡἢἣἤἥἦἧὴήᾐᾑᾒᾓᾔᾕᾖᾗῂῃῄῆῇ",
	'ι': "ΐίϊἰἱἲἳἴἵἶἷὶίιῐῑῒΐῖῗ",
	'ο': "όὀὁὂὃὄὅὸό",
	'ρ': "ῤῥ",
	'σ': "ς",
	'υ': "ΰϋύὐὑὒὓὔὕὖὗὺύῠῡῢΰῦῧ",
	'ω': "ώὠὡὢὣὤὥὦὧὼώᾠᾡᾢᾣᾤᾥᾦᾧῲῳῴῶῷ",
	'ϒ': "ϓϔ",
	'а': "ӑӓ",
	'г': "ѓ",
	'е': "ѐёӗ",
	'ж': "ӂӝ",
	'з': "ӟ",
	'и': "йѝӣӥ",
	'к': "ќ",
	'о': "ӧ",
	'у': "ўӯӱӳ",
	'ч': "ӵ",
	'ы': "ӹ",
	'э': "ӭ",
	'і': "ї",
	'ѵ': "ѷ",
	'ә': "ӛ",
	'ө': "ӫ",
}

// plain is accents the other way round.
var plain = func() map[rune]rune {
	m := make(map[rune]rune, 512)
	for base, list := range accents {
		for _, r := range list {
			m[r] = base
		}
	}
	return m
}()

// fold returns a letter in lower case, without accents, and not wider than others.
func fold(r rune) rune {
	r = unicode.ToLower(r)
	if base, ok := plain[r]; ok {
		return base
	}
	return r
}

// narrow returns the ASCII character that r is the wide form of, or r.
func narrow(r rune) rune {
	switch {
	case r >= 0xff01 && r <= 0xff5e:
		return r - 0xff01 + '!'
	case r == 0x3000:
		return ' '
	}
	return r
}
