// Compiles each contract beside this file to an artifact with ABI, bytecode and the settings that made it.
const fs = require("fs");
const solc = require("solc");

const settings = {
  evmVersion: "paris",
  optimizer: { enabled: true, runs: 200 },
  metadata: { bytecodeHash: "none" },
  outputSelection: { "*": { "*": ["abi", "evm.bytecode.object"] } },
};

for (const name of ["Lottery", "Rejector"]) {
  const file = `${name}.sol`;
  const input = { language: "Solidity", sources: { [file]: { content: fs.readFileSync(file, "utf8") } }, settings };
  const output = JSON.parse(solc.compile(JSON.stringify(input)));
  const errors = (output.errors || []).filter((error) => error.severity === "error");
  if (errors.length > 0) throw new Error(errors.map((error) => error.formattedMessage).join("\n"));
  const contract = output.contracts[file][name];
  const artifact = {
    contractName: name,
    compiler: solc.version(),
    evmVersion: settings.evmVersion,
    optimizerRuns: settings.optimizer.runs,
    abi: contract.abi,
    bytecode: `0x${contract.evm.bytecode.object}`,
  };
  fs.writeFileSync(`${name}.json`, JSON.stringify(artifact, null, 1) + "\n");
}
