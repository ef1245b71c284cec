"""Why a concept was or was not recognised."""
