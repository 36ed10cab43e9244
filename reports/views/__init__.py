"""Pure view models: one module a section of the page, testable without HTML."""
