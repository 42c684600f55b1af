// SPDX-License-Identifier: Apache-2.0
#include "conf/toml.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>
#include <string_view>
#include <vector>

extern "C" {
#include "base/err.h"
#include "base/mem.h"
}

// Header-only, so that nothing has to be installed where Loom runs, and so that these apply. The assertions are off
// because a slip like `a = }` fails one of them; without it the parser goes on and reports the error. With NDEBUG they
// would become promises to the compiler instead.
#undef NDEBUG
#define TOML_HEADER_ONLY       1
#define TOML_EXCEPTIONS        0
#define TOML_ENABLE_FORMATTERS 0
#define TOML_MAX_NESTED_VALUES TOML_MAX_DEPTH
#define TOML_ASSERT(condition) static_assert(true)
#include <toml++/toml.h>

namespace
{

// What has to be looked at before toml++ may see the text, with just enough of TOML's grammar to know strings and
// comments. Where this loses its way the document has a syntax error, and toml++ stops there as well.
//
// - Depth: toml++ limits how deep values nest, but not how many parts a dotted key has, and frees its tables by
//   recursion. A line of half a million dots would overflow the stack.
// - Characters beyond ASCII. Up to 3.4 toml++ runs into undefined behaviour when it asks of most of them whether they
//   are white space (its issues 190 and 295). It asks outside strings and comments, where TOML has none; after a
//   backslash in a string; and in a string that follows a number without a space. The last two are refused here even
//   where TOML would allow them.
class Precheck
{
  public:
    explicit Precheck(std::string_view text) : text_(text)
    {
    }

    // What is wrong, or nullptr.
    const char *run()
    {
        if (text_.substr(0, 3) == "\xEF\xBB\xBF")
            at_ = 3; // a byte order mark may open the file
        while (at_ < text_.size()) {
            char c = text_[at_];
            if (c == '"' || c == '\'') {
                const char *reason = check_string(c);
                if (reason != nullptr || unterminated_)
                    return reason;
                continue;
            }
            if (is_non_ascii(c))
                return "characters beyond ASCII have to stand in quotes";
            if (c == '.' && ++dots_ >= TOML_MAX_DEPTH)
                return "a key with too many parts";
            note_number(c);
            if (is_one_of(c, "\n=,[{"))
                dots_ = 0;
            at_ = c == '#' ? text_.find('\n', at_) : at_ + 1;
        }
        return nullptr;
    }

    // Where run() stopped.
    size_t at() const
    {
        return at_;
    }

  private:
    static bool is_non_ascii(char c)
    {
        return (static_cast<unsigned char>(c) & 0x80) != 0;
    }

    static bool is_one_of(char c, std::string_view set)
    {
        return set.find(c) != std::string_view::npos;
    }

    // toml++ reads on from the first digit or sign of a value up to one of the characters that end values.
    void note_number(char c)
    {
        static const std::string_view ends = " \t\r\n]},#";
        bool value_may_start = at_ == 0 || is_one_of(text_[at_ - 1], ends) || is_one_of(text_[at_ - 1], "=[{");
        if (is_one_of(c, ends))
            in_number_ = false;
        else if (value_may_start && is_one_of(c, "+-0123456789"))
            in_number_ = true;
    }

    bool starts_with_three(char quote) const
    {
        return text_.size() - at_ >= 3 && text_[at_ + 1] == quote && text_[at_ + 2] == quote;
    }

    // Moves behind a string. What is wrong with it, or nullptr; unterminated_ is set where it does not end as strings
    // do.
    const char *check_string(char quote)
    {
        bool multi_line = starts_with_three(quote);
        at_ += multi_line ? 3 : 1;
        while (at_ < text_.size()) {
            char c = text_[at_];
            if (c == quote && (!multi_line || starts_with_three(quote))) {
                at_ += multi_line ? 3 : 1;
                // A multi-line string may end in up to two quotes of its own before the closing three.
                for (int own = 0; multi_line && own < 2 && at_ < text_.size() && text_[at_] == quote; own++)
                    at_++;
                return nullptr;
            }
            if (c == '\n' && !multi_line)
                break;
            if (is_non_ascii(c) && in_number_)
                return "a string with characters beyond ASCII right after a number";
            if (quote == '"' && c == '\\' && !skip_escape(multi_line))
                return "a backslash before a character beyond ASCII";
            at_++;
        }
        unterminated_ = true;
        return nullptr;
    }

    // To the last character of an escape sequence as far as it matters here: that may be a quote or a backslash. White
    // space after a backslash that joins lines is passed like any other text.
    bool skip_escape(bool multi_line)
    {
        size_t next = multi_line ? text_.find_first_not_of(" \t\r\n", at_ + 1) : at_ + 1;
        at_++;
        if (next >= text_.size() || !is_non_ascii(text_[next]))
            return true;
        at_ = next;
        return false;
    }

    std::string_view text_;
    size_t at_ = 0;
    size_t dots_ = 0;           // in this key
    bool in_number_ = false;    // a number may have begun here, and nothing has ended it
    bool unterminated_ = false; // a string; toml++ stops there
};

void fill_fault(struct toml_fault *fault, unsigned line, unsigned column, const std::string &text)
{
    fault->line = line;
    fault->column = column;
    snprintf(fault->text, sizeof fault->text, "%s", text.c_str());
}

// Line and column of an offset, as toml++ counts them: bytes that continue a UTF-8 sequence are no column of their own.
void fill_fault_at(struct toml_fault *fault, std::string_view text, size_t offset, const char *reason)
{
    std::string_view before = text.substr(0, offset);
    std::string_view line = before.substr(before.rfind('\n') + 1); // npos + 1 is 0: the first line
    auto lines = std::count(before.begin(), before.end(), '\n');
    auto columns = std::count_if(line.begin(), line.end(), [](char c) { return (c & 0xC0) != 0x80; });
    fill_fault(fault, 1 + static_cast<unsigned>(lines), 1 + static_cast<unsigned>(columns), reason);
}

// What toml++ says, without what it quotes from the document. It quotes what it saw ("saw 's'"), keys (which are tokens
// in a mistaken [auth.tokens]) and numbers; what it expected is its own text and stays.
std::string without_content(std::string_view description)
{
    std::string text(description.substr(0, std::min(description.find(", saw "), description.find(" (TOML_"))));
    auto ends_with = [&text](size_t end, std::string_view word) {
        return end >= word.size() && text.compare(end - word.size(), word.size(), word) == 0;
    };
    for (size_t quote = text.find('\''); quote != std::string::npos; quote = text.find('\'', quote + 1)) {
        size_t close = text.find('\'', quote + 1);
        bool own_words = ends_with(quote, "expected ") || ends_with(quote, "or ") || ends_with(quote, "after ");
        if (own_words && close != std::string::npos) {
            quote = close;
            continue;
        }
        // From the document, and it may hold quotes itself: up to the last one.
        text.replace(quote, text.rfind('\'') + 1 - quote, "...");
        break;
    }
    return text;
}

enum toml_kind kind_of(const toml::node &node)
{
    switch (node.type()) {
    case toml::node_type::table:
        return TOML_KIND_TABLE;
    case toml::node_type::array:
        return TOML_KIND_ARRAY;
    case toml::node_type::string:
        return TOML_KIND_STRING;
    case toml::node_type::integer:
        return TOML_KIND_INTEGER;
    case toml::node_type::floating_point:
        return TOML_KIND_FLOAT;
    case toml::node_type::boolean:
        return TOML_KIND_BOOLEAN;
    default:
        return TOML_KIND_DATETIME;
    }
}

bool is_control(char c)
{
    unsigned char byte = static_cast<unsigned char>(c);
    return byte < 0x20 || byte == 0x7F;
}

void append_key(std::string &path, std::string_view key)
{
    auto is_bare = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
    };
    if (!path.empty())
        path += '.';
    if (!key.empty() && std::all_of(key.begin(), key.end(), is_bare)) {
        path += key;
        return;
    }
    path += '"';
    for (char c : key) {
        if (is_control(c)) {
            char escape[8];
            snprintf(escape, sizeof escape, "\\u%04X", static_cast<unsigned>(static_cast<unsigned char>(c)));
            path += escape;
            continue;
        }
        if (c == '"' || c == '\\')
            path += '\\';
        path += c;
    }
    path += '"';
}

char *take_string(const std::string &string, struct toml_node *node)
{
    node->control = node->control || std::any_of(string.begin(), string.end(), is_control);
    return mem_strndup(string.data(), string.size());
}

void take_value(const toml::node &value, struct toml_node *node)
{
    if (auto *boolean = value.as_boolean()) {
        node->boolean = boolean->get();
    } else if (auto *integer = value.as_integer()) {
        node->integer = integer->get();
    } else if (auto *string = value.as_string()) {
        node->string = take_string(string->get(), node);
    } else if (auto *array = value.as_array()) {
        for (const toml::node &element : *array)
            if (!element.is_string())
                return;
        size_t count = 0;
        node->strings = static_cast<char **>(mem_array(array->size() + 1, sizeof *node->strings));
        for (const toml::node &element : *array)
            node->strings[count++] = take_string(element.as_string()->get(), node);
    }
}

void take_table(const toml::table &table, const std::string &prefix, std::vector<struct toml_node> &nodes)
{
    for (auto &&[key, value] : table) {
        std::string path = prefix;
        append_key(path, key.str());

        auto position = key.source().begin ? key.source().begin : value.source().begin;
        struct toml_node node = {};
        node.kind = kind_of(value);
        node.line = position.line;
        node.column = position.column;
        nodes.push_back(node);
        // In the list before they are filled: should an allocation throw, the list's owner releases them.
        nodes.back().path = mem_strndup(path.data(), path.size());
        nodes.back().name = nodes.back().path + (prefix.empty() ? 0 : prefix.size() + 1);
        take_value(value, &nodes.back());
        if (value.is_table())
            take_table(*value.as_table(), path, nodes);
    }
}

void free_node(struct toml_node &node)
{
    mem_free(node.path);
    if (node.string != nullptr)
        mem_wipe(node.string, strlen(node.string)); // may be a password that does not belong there
    mem_free(node.string);
    for (char **string = node.strings; string != nullptr && *string != nullptr; string++)
        mem_free(*string);
    mem_free(node.strings);
}

// toml++ keeps tables sorted by key; people read files by line. A table stays before its members: it has the smaller or
// the same position, and the sort is stable.
void sort_by_position(std::vector<struct toml_node> &nodes)
{
    std::stable_sort(nodes.begin(), nodes.end(), [](const struct toml_node &a, const struct toml_node &b) {
        return a.line != b.line ? a.line < b.line : a.column < b.column;
    });
}

int parse(std::string_view text, struct toml_doc *doc, struct toml_fault *fault)
{
    Precheck precheck(text);
    if (const char *reason = precheck.run()) {
        fill_fault_at(fault, text, precheck.at(), reason);
        return ERR_SYNTAX;
    }
    toml::parse_result result = toml::parse(text);
    if (!result) {
        const toml::parse_error &error = result.error();
        fill_fault(fault, error.source().begin.line, error.source().begin.column, without_content(error.description()));
        return ERR_SYNTAX;
    }

    std::vector<struct toml_node> nodes;
    try {
        take_table(result.table(), "", nodes);
        sort_by_position(nodes);
    } catch (...) {
        for (struct toml_node &node : nodes)
            free_node(node);
        throw;
    }
    doc->count = nodes.size();
    doc->nodes = static_cast<struct toml_node *>(mem_array(nodes.size() + 1, sizeof *doc->nodes));
    std::copy(nodes.begin(), nodes.end(), doc->nodes);
    return 0;
}

} // namespace

extern "C" int toml_parse(const char *data, size_t len, struct toml_doc *doc, struct toml_fault *fault)
{
    *doc = {};
    *fault = {};
    try {
        return parse(std::string_view(data, len), doc, fault);
    } catch (const std::exception &) {
        return -ENOMEM; // nothing else throws: toml++ is compiled to report, not to throw
    }
}

extern "C" void toml_fini(struct toml_doc *doc)
{
    for (size_t i = 0; i < doc->count; i++)
        free_node(doc->nodes[i]);
    mem_free(doc->nodes);
    *doc = {};
}
