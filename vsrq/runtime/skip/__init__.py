"""Computing only the tiles that changed: windows are gathered, run through the step graphs, and scattered back."""
