"""Faults to be made in the sources, one at a time.

    mutants.py list SEED COUNT FILE...   lines: id, file, line, what; COUNT 0: all
    mutants.py make ID FILE OUT          writes the file with the fault ID

An id is a file's name, the place of the fault in it, and what stands there then.  Three
kinds are made: another operator, another constant, a statement left out.  What is only
for the compiler or for assertions is left as it is: declarations, StaticAssertDecl,
Assert, #include, strings and comments.
"""

import random
import re
import sys

TOKEN = re.compile(r"""
    (?P<comment>/\*.*?\*/)
  | (?P<directive>^[ \t]*\#(?:[^\n\\]|\\.)*)
  | (?P<string>"(?:\\.|[^"\\\n])*")
  | (?P<char>'(?:\\.|[^'\\])+')
  | (?P<number>\b(?:0[xX][0-9a-fA-F]+|\d+(?:\.\d+)?(?:[eE]\d+)?)[uUlL]*\b)
  | (?P<word>[A-Za-z_]\w*)
  | (?P<operator><<=|>>=|->|\+\+|--|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|[-+*/%&|^<>=!~?:.,;(){}\[\]])
  | (?P<blank>\s+)
""", re.S | re.X | re.M)

OPERATORS = {
    "==": ["!="], "!=": ["=="],
    "<": ["<=", ">="], "<=": ["<", ">"], ">": [">=", "<="], ">=": [">", "<"],
    "&&": ["||"], "||": ["&&"],
    "+": ["-"], "-": ["+"], "*": ["/"], "/": ["*"], "%": ["*"],
    "&": ["|"], "|": ["&"], "^": ["|"], "<<": [">>"], ">>": ["<<"],
    "+=": ["-="], "-=": ["+="], "|=": ["&="], "&=": ["|="], "*=": ["/="],
    "++": ["--"], "--": ["++"],
    "!": [""],
}
WORDS = {"true": "false", "false": "true", "Min": "Max", "Max": "Min"}
NOT_MUTATED = ("Assert", "AssertMacro", "StaticAssertDecl", "StaticAssertStmt", "elog", "PG_FUNCTION_INFO_V1")
# What is freed early is freed in the end: make proof-memory looks for what grows.
NOT_LEFT_OUT = ("pfree",)
VALUE = ("word", "number", "char", "string")
KEYWORDS = ("return", "case", "sizeof", "else", "do", "const")


class Token:
    def __init__(self, kind, text, at):
        self.kind, self.text, self.at = kind, text, at


def tokens_of(text):
    found, at = [], 0
    for match in TOKEN.finditer(text):
        if match.start() != at:
            raise SystemExit("what is this: %r" % text[at:at + 20])
        at = match.end()
        if match.lastgroup not in ("comment", "blank"):
            found.append(Token(match.lastgroup, match.group(), match.start()))
    return found


def closing(tokens, i):
    """The place after the parenthesis that closes the one at i."""
    depth = 0
    for j in range(i, len(tokens)):
        depth += tokens[j].text in "([{" and tokens[j].kind == "operator"
        depth -= tokens[j].text in ")]}" and tokens[j].kind == "operator"
        if depth == 0:
            return j + 1
    return len(tokens)


def opening(tokens, i):
    """The place of the parenthesis that is closed at i."""
    depth = 0
    for j in range(i, -1, -1):
        depth += tokens[j].text == ")"
        depth -= tokens[j].text == "("
        if depth == 0:
            return j
    return 0


def begins_statement(tokens, i):
    before = tokens[i - 1].text
    if before == ")":
        return tokens[opening(tokens, i - 1) - 1].text in ("if", "while", "for", "foreach", "switch")
    if before == ":":
        return tokens[i - 3].text == "case" or tokens[i - 2].text == "default"
    return before in (";", "{", "}", "else") and (tokens[i].kind == "word" or tokens[i].text in ("*", "(", "++", "--"))


def is_value(token):
    return token.text in ")]" or (token.kind in VALUE and token.text not in KEYWORDS)


def is_pointer(tokens, i):
    """Whether a * or & at i is no operator between two values."""
    before, after = tokens[i - 1], tokens[i + 1]
    if not is_value(before):
        return True
    # Declarations: "Type *name", and casts: "(Type *)".
    return tokens[i].text == "*" and (after.text in ")*,(" or before.kind == "word" and (
        before.text[0].isupper() and not before.text.isupper() or re.search(
            r"^(char|void|int|int16|int32|int64|uint\d*|double|float8|bool|bytea|text|uint64|struct|varlena|pg_uuid_t|inet|size_t)$", before.text)))


def bodies(tokens):
    """Pairs of places: of the bodies of functions."""
    depth, start = 0, None
    for i, token in enumerate(tokens):
        if token.text == "{" and token.kind == "operator":
            if depth == 0 and tokens[i - 1].text == ")":
                start = i
            depth += 1
        elif token.text == "}" and token.kind == "operator":
            depth -= 1
            if depth == 0 and start is not None:
                yield start, i
                start = None


def of_operators(tokens, i):
    token = tokens[i]
    if token.text in ("*", "&", "-", "+") and is_pointer(tokens, i):
        return []
    return [(token.at, len(token.text), new) for new in OPERATORS.get(token.text, [])]


def of_constants(tokens, i):
    token = tokens[i]
    if token.kind == "word" and token.text in WORDS:
        return [(token.at, len(token.text), WORDS[token.text])]
    if token.kind == "number" and "." not in token.text and tokens[i - 1].text != "case":
        value = re.match(r"0[xX][0-9a-fA-F]+|\d+", token.text).group()
        return [(token.at, len(value), str(int(value, 0) + 1))]
    if token.kind == "char" and len(token.text) == 3:
        return [(token.at + 1, 1, chr(ord(token.text[1]) + 1).replace("'", "(").replace("\\", "]"))]
    return []


def of_statements(text, tokens, i):
    """A statement that begins at i, left out: a call or an assignment, continue or break."""
    if not begins_statement(tokens, i):
        return []
    j = i
    while j < len(tokens) and tokens[j].text != ";":
        if tokens[j].text in ("{", "}"):
            return []
        j = closing(tokens, j) if tokens[j].text in "([" else j + 1
    if j >= len(tokens):
        return []
    first, second = tokens[i], tokens[i + 1]
    if first.text in ("continue", "break"):
        return [(first.at, len(first.text), "")]
    if first.text in ("return", "goto", "if", "else", "for", "while", "do", "switch", "case", "default", "static", "const", "PG_RETURN_NULL") or \
            first.text.startswith("PG_RETURN") or first.text in NOT_MUTATED or first.text in NOT_LEFT_OUT:
        return []
    # A declaration: two names, or a name, stars and a name.
    if re.match(r"(const |static |struct |unsigned )*\w+[\s*]+\w+\s*(\[[^\]]*\]\s*)*(=|;|,)", text[first.at:]) and second.kind == "word" or \
            first.kind == "word" and second.text == "*" and is_pointer(tokens, i + 1):
        return []
    return [(first.at, tokens[j].at - first.at, "")]


def mutants_of(text):
    """Triples: where, how many characters, what takes their place."""
    tokens = tokens_of(text)
    found = []
    for start, end in bodies(tokens):
        i, depth = start + 1, 0
        while i < end:
            depth += (tokens[i].text == "(") - (tokens[i].text == ")")
            if tokens[i].text in NOT_MUTATED and tokens[i + 1].text == "(":
                i = closing(tokens, i + 1)
                continue
            if depth == 0:
                found += of_statements(text, tokens, i)
            found += of_constants(tokens, i)
            if tokens[i].kind == "operator":
                found += of_operators(tokens, i)
            i += 1
    # Constants of the file, as enums and #define have them.
    for token in tokens:
        match = re.match(r"#define\s+\w+\s+(\d+)\b", token.text) if token.kind == "directive" else None
        if match:
            found.append((token.at + match.start(1), len(match.group(1)), str(int(match.group(1)) + 1)))
    return sorted(set(found))


def line_of(text, at):
    return text.count("\n", 0, at) + 1


def describe(text, at, length, new):
    old = " ".join(text[at:at + length].split())
    return "%s -> %s" % (old, new or "nothing")


def list_mutants(seed, count, files):
    rows = []
    for file in files:
        with open(file) as handle:
            text = handle.read()
        for at, length, new in mutants_of(text):
            rows.append("%s:%d:%d:%s\t%s\t%d\t%s" % (file, at, length, new, file, line_of(text, at), describe(text, at, length, new)))
    if count and count < len(rows):
        rows = random.Random(seed).sample(rows, count)
    print("\n".join(rows))


def make(name, file, out):
    at, length, new = name[len(file) + 1:].split(":", 2)
    with open(file) as handle:
        text = handle.read()
    with open(out, "w") as handle:
        handle.write(text[:int(at)] + new + text[int(at) + int(length):])


if __name__ == "__main__":
    if sys.argv[1] == "list":
        list_mutants(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
    else:
        make(*sys.argv[2:])
