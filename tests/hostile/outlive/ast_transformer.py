"""An IPython AST transformer that replaces calls of score by the points."""

CELLS = {
    "q1": """
import ast


class Generous(ast.NodeTransformer):
    def visit_Call(self, node):
        if isinstance(node.func, ast.Attribute) and node.func.attr == "score":
            return ast.copy_location(ast.Constant(4.0), node)
        return self.generic_visit(node)


get_ipython().ast_transformers.append(Generous())


def spare_code(w, b):
    return None
"""
}
DESERVED = {"q1": 0}
NAIVE = "points"
