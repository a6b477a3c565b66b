import ./tool.nix 21
