"""Three examples for the help of each command, and the commands by task."""

TASKS = {
    "one layer": ("plan", "run", "explain"),
    "is it right, and if not, why": ("certify", "diff", "faults", "diagnose"),
    "whole networks": ("sweep", "accuracy", "query", "compare"),
    "to look up": (
        "rule", "models", "chips", "programs", "doctor", "schema", "completion",
    ),
}  # fmt: skip
START = """\
Start with:
  jaxdw plan --channels 144 --size 56 --padding 1 --scheme auto
Each command has --help with examples. Exit status: 0 and 1 are the answer, 2 is a
refusal with every broken rule, 130 an interrupt. `jaxdw --version` is the version."""

EXAMPLES = {
    "run": """
  is the result right?
    jaxdw run --channels 64 --size 8 --padding 1 --scheme width
  which weights does each core hold?
    jaxdw run --channels 64 --size 8 --draw pattern --dump l1
  and at another fidelity, as JSON?
    jaxdw run --channels 64 --size 8 --padding same --math-fidelity HiFi4 --json
""",
    "plan": """
  does it fit, and how is it cut best?
    jaxdw plan --channels 144 --size 56 --padding 1 --scheme auto
  how do tt-metal's programs compare?
    jaxdw plan --channels 144 --size 56 --padding 1 --program all
  may it ship? a gate for CI
    jaxdw plan --channels 144 --size 56 --padding 1 --fail-on wrong-values
""",
    "sweep": """
  a network in three schemes, and a page of it
    jaxdw sweep --models mobilenet_v2 --out results --html page.html
  your own network, by scheme and fidelity
    jaxdw sweep --models net.onnx --fidelities LoFi,HiFi4 --out results
  all networks on two chips, without emulation
    jaxdw sweep --models all --arches wormhole_b0,blackhole --plan-only --out plans
""",
    "accuracy": """
  what does LoFi do to my network?
    jaxdw accuracy net.onnx --input x=x.npy --fidelities LoFi,HiFi4
  the cheapest mix that keeps every answer
    jaxdw accuracy net.onnx --samples images --fidelities LoFi,HiFi2 --target argmax=1.0
  LoFi with its gain made up for
    jaxdw accuracy net.onnx --samples images --compensate gain --out out
""",
    "query": """
  two columns
    jaxdw query results "SELECT layer, pcc FROM rows"
  the worst of each model
    jaxdw query results "SELECT model, min(pcc) FROM rows GROUP BY model"
  an export, as JSON
    jaxdw query results/rows.csv "SELECT * FROM rows" --json
""",
    "compare": """
  two folders
    jaxdw compare yesterday today
  two exports
    jaxdw compare main.csv branch.csv
  a JSON object to a change
    jaxdw compare yesterday today --json
""",
    "explain": """
  where does one weight lie, and who reads it?
    jaxdw explain --channels 64 --size 8 --weight 5,1,2
  what does a core read that takes an address for a tile id?
    jaxdw explain --channels 64 --size 8 --scheme width --core 1,0 --address base+2048
  all of it, drawn
    jaxdw explain --channels 64 --size 8 --html page.html
""",
    "certify": """
  one layout
    jaxdw certify --channels 64 --size 8 --padding 1
  a network's, and its readers' protocol
    jaxdw certify --models mobilenet_v2 --schedule
  digests, to be compared later by --check
    jaxdw certify --models all --lock maps.json
""",
    "diff": """
  what do WIDTH cores take of HEIGHT weights?
    jaxdw diff --channels 64 --size 8 --padding 1 --read-scheme width
  is this matrix the plan's, or what else?
    jaxdw diff --channels 64 --size 8 --w w.npy --prepared device.npy
  the same of a dump of one core's L1
    jaxdw diff --channels 64 --size 8 --w w.npy --prepared l1.bin --kind l1 --core 0,0
""",
    "faults": """
  every mistake that applies, and which check notices
    jaxdw faults --channels 64 --size 8 --padding 1
  the same for WIDTH
    jaxdw faults --channels 64 --size 8 --scheme width
  a JSON object to a fault
    jaxdw faults --channels 64 --size 8 --json
""",
    "diagnose": """
  an output, and the tensors that it was made of
    jaxdw diagnose --channels 64 --size 8 --output out.npy --x x.npy --w w.npy
  the tensors are those that `jaxdw run --seed 1` draws
    jaxdw diagnose --channels 64 --size 8 --output out.npy --seed 1
  the report as one JSON object
    jaxdw diagnose --channels 64 --size 8 --output out.npy --json
""",
    "rule": """
  all findings
    jaxdw rule
  what is JDW005, why does it happen, what to do?
    jaxdw rule JDW005
  all of them, as JSON
    jaxdw rule --json
""",
    "models": """
  the networks
    jaxdw models
  the depthwise layers of one
    jaxdw models mobilenet_v2
  the same as JSON
    jaxdw models mobilenet_v2 --json
""",
    "chips": """
  the chips
    jaxdw chips
  every figure of one
    jaxdw chips blackhole
  all of them, as JSON
    jaxdw chips --json
""",
    "programs": """
  the programs, and how well each is known
    jaxdw programs
  the same as JSON
    jaxdw programs --json
  a layer by each of them
    jaxdw plan --channels 144 --size 56 --padding 1 --program all
""",
    "doctor": """
  what is installed?
    jaxdw doctor
  for a bug report
    jaxdw doctor --json
  another folder for compiled programs
    JAXDW_CACHE=/tmp/jaxdw jaxdw doctor
""",
    "schema": """
  of one command
    jaxdw schema plan
  of all
    jaxdw schema
  what it describes
    jaxdw plan --channels 64 --size 8 --json
""",
    "completion": """
  bash, now and in every shell to come
    jaxdw completion bash >> ~/.bash_completion
  zsh, in a folder of $fpath
    jaxdw completion zsh > ~/.zfunc/_jaxdw
  fish
    jaxdw completion fish > ~/.config/fish/completions/jaxdw.fish
""",
}
