package commands

import (
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

// Completion is the command completion.
type Completion struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help is the text of --help above the flags.
func (Completion) Help() string {
	return `Add to the start file of bash or zsh: source <(cartwheel completion bash), with the shell's name. Of fish:
cartwheel completion fish | source`
}

// A completionScript chooses the words to offer by the words before the cursor.
type completionScript struct{ begin, choice, end string }

// bashCompletion is for zsh, too, which has the functions of bash on request.
var bashCompletion = completionScript{
	begin: "if [ -n \"$ZSH_VERSION\" ]; then\n" +
		"\t(( $+functions[compdef] )) || { autoload -U compinit && compinit; }\n" +
		"\tautoload -U bashcompinit && bashcompinit\nfi\n" +
		"_cartwheel() {\n\tlocal words\n\tcase \"${COMP_WORDS[*]:1:$((COMP_CWORD - 1))}\" in\n",
	choice: "\t'%s'%s) words='%s' ;;\n",
	end: "\tesac\n\tCOMPREPLY=($(compgen -W \"$words\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n}\n" +
		"complete -o default -F _cartwheel cartwheel\n",
}

var completionScripts = map[string]completionScript{
	"bash": bashCompletion,
	"zsh":  bashCompletion,
	"fish": {
		begin:  "function __cartwheel_words\n\tswitch (string join -- ' ' (commandline -opc)[2..])\n",
		choice: "\t\tcase '%s%s'\n\t\t\tstring split ' ' -- '%s'\n",
		end:    "\tend\nend\ncomplete -c cartwheel -a '(__cartwheel_words)'\n",
	},
}

// Run prints the script.
func (c Completion) Run(console Console, line *kong.Context) error {
	script := completionScripts[c.Shell]
	text := script.begin
	err := kong.Visit(line.Model.Node, func(v kong.Visitable, next kong.Next) error {
		node, isNode := v.(*kong.Node)
		if !isNode {
			return next(nil)
		}
		anything := "" // a command may have arguments; its group is followed by a command
		if node.Leaf() {
			anything = "*"
		}
		text += fmt.Sprintf(script.choice, node.Path(), anything, strings.Join(wordsAfter(node), " "))
		return next(nil)
	})
	if err != nil {
		return err
	}
	_, err = io.WriteString(console.Out, text+script.end)
	return err
}

// wordsAfter returns the commands, values and flags that may follow a command.
func wordsAfter(node *kong.Node) (words []string) {
	for _, command := range node.Children {
		words = append(words, command.Name)
	}
	for _, argument := range node.Positional {
		if argument.Enum != "" {
			words = append(words, argument.EnumSlice()...)
		}
	}
	for _, group := range node.AllFlags(true) {
		for _, flag := range group {
			words = append(words, "--"+flag.Name)
		}
	}
	return words
}
