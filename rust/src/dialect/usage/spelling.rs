//! How each dialect spells the counts: a table per dialect, from the member's name to where its count belongs.

use super::{Dialect, Reported};

/// What a member of a usage object is.
pub(super) enum Member {
    /// A count, and where it belongs.
    Count(fn(&mut Reported) -> &mut Option<u64>),
    /// An object that holds counts.
    Group(Group),
    /// None of ours.
    Foreign,
}

/// A usage object, or one of the objects within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    Usage,
    InputDetails,
    /// `prompt_token_details`, as one provider writes it beside the right one.
    InputDetailsMisspelt,
    OutputDetails,
    Tokens,
    BilledUnits,
}

use Group::{BilledUnits, InputDetails, InputDetailsMisspelt, OutputDetails, Tokens, Usage};

/// Looks the member `name` of `group` up.
pub(super) fn member(dialect: Dialect, group: Group, name: &[u8]) -> Member {
    match dialect {
        Dialect::OpenAiChat | Dialect::OpenAiCompletions | Dialect::Unknown => chat(group, name),
        Dialect::OpenAiResponses => responses(group, name),
        Dialect::AnthropicMessages => anthropic(group, name),
        Dialect::Gemini => gemini(name),
        Dialect::Cohere => cohere(group, name),
    }
}

fn chat(group: Group, name: &[u8]) -> Member {
    match (group, name) {
        (Usage, b"prompt_tokens") => Member::Count(|u| &mut u.input),
        (Usage, b"completion_tokens") => Member::Count(|u| &mut u.output),
        (Usage, b"total_tokens") => Member::Count(|u| &mut u.total),
        (Usage, b"prompt_tokens_details") => Member::Group(InputDetails),
        (Usage, b"prompt_token_details") => Member::Group(InputDetailsMisspelt),
        (Usage, b"completion_tokens_details") => Member::Group(OutputDetails),
        (InputDetails, b"cached_tokens") => Member::Count(|u| &mut u.cached_read),
        (OutputDetails, b"reasoning_tokens") => Member::Count(|u| &mut u.reasoning),
        (InputDetailsMisspelt, b"cached_tokens")
        | (Usage, b"cached_tokens" | b"prompt_cache_hit_tokens" | b"cache_read_input_tokens" | b"num_cached_tokens") => {
            Member::Count(|u| &mut u.aside.cached_read)
        }
        (InputDetails | InputDetailsMisspelt, b"cache_write_tokens") | (Usage, b"cache_creation_input_tokens") => {
            Member::Count(|u| &mut u.aside.cache_write)
        }
        (Usage, b"reasoning_tokens") => Member::Count(|u| &mut u.aside.reasoning),
        _ => Member::Foreign,
    }
}

fn responses(group: Group, name: &[u8]) -> Member {
    match (group, name) {
        (Usage, b"input_tokens") => Member::Count(|u| &mut u.input),
        (Usage, b"output_tokens") => Member::Count(|u| &mut u.output),
        (Usage, b"total_tokens") => Member::Count(|u| &mut u.total),
        (Usage, b"input_tokens_details") => Member::Group(InputDetails),
        (Usage, b"output_tokens_details") => Member::Group(OutputDetails),
        (InputDetails, b"cached_tokens") => Member::Count(|u| &mut u.cached_read),
        (InputDetails, b"cache_write_tokens") => Member::Count(|u| &mut u.aside.cache_write),
        (OutputDetails, b"reasoning_tokens") => Member::Count(|u| &mut u.reasoning),
        _ => Member::Foreign,
    }
}

fn anthropic(group: Group, name: &[u8]) -> Member {
    match (group, name) {
        (Usage, b"input_tokens") => Member::Count(|u| &mut u.input),
        (Usage, b"output_tokens") => Member::Count(|u| &mut u.output),
        (Usage, b"cache_read_input_tokens") => Member::Count(|u| &mut u.cached_read),
        (Usage, b"cache_creation_input_tokens") => Member::Count(|u| &mut u.cache_write),
        (Usage, b"output_tokens_details") => Member::Group(OutputDetails),
        (OutputDetails, b"thinking_tokens") => Member::Count(|u| &mut u.aside.reasoning),
        _ => Member::Foreign,
    }
}

fn gemini(name: &[u8]) -> Member {
    match name {
        b"promptTokenCount" => Member::Count(|u| &mut u.input),
        b"candidatesTokenCount" => Member::Count(|u| &mut u.output),
        b"totalTokenCount" => Member::Count(|u| &mut u.total),
        b"cachedContentTokenCount" => Member::Count(|u| &mut u.cached_read),
        b"thoughtsTokenCount" => Member::Count(|u| &mut u.reasoning),
        b"toolUsePromptTokenCount" => Member::Count(|u| &mut u.aside.tool_input),
        _ => Member::Foreign,
    }
}

fn cohere(group: Group, name: &[u8]) -> Member {
    match (group, name) {
        (Usage, b"tokens") => Member::Group(Tokens),
        (Usage, b"billed_units") => Member::Group(BilledUnits),
        (Usage, b"cached_tokens") => Member::Count(|u| &mut u.aside.cached_read),
        (Tokens | BilledUnits, b"input_tokens") => Member::Count(|u| &mut u.input),
        (Tokens | BilledUnits, b"output_tokens") => Member::Count(|u| &mut u.output),
        _ => Member::Foreign,
    }
}
